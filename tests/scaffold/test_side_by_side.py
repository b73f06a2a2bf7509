"""Ten broken plugins, really installed next to good ones: each is reported in a line, and no run notices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from environments import environment, install
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
HOOK = "import dagsdk\n@dagsdk.hookimpl\n"
SPEC = "dagsdk.RewardSpec(name={!r}, summary='X', build=print)"

# entry point, source, further requirement → what is said of it
BROKEN = {
    "bad-import": ("bad-import", "import no_such_module", "", "No module named 'no_such_module'"),
    "bad-syntax": ("bad-syntax", "def (", "", "SyntaxError"),
    "bad-exit": ("bad-exit", "raise SystemExit(3)", "", "SystemExit: 3"),
    "bad-hook": ("bad-hook", f"{HOOK}def dagsdk_rewards(): 1 / 0", "", "ZeroDivisionError"),
    "bad-type": ("bad-type", f"{HOOK}def dagsdk_rewards(): yield 7", "", "yielded 7"),
    "no-hook": ("no-hook", "x = 1", "", "registers no hook"),
    "misspelt": ("misspelt", f"{HOOK}def dagsdk_reward(): return ()", "", "did you mean 'dagsdk_rewards'?"),
    "same-plugin": ("shapes", "raise AssertionError('not to be imported')", "", "entry point 'shapes' is declared by"),
    "same-reward": (
        "same-reward",
        f"{HOOK}def dagsdk_rewards(): yield {SPEC.format('jpeg-compressibility')}",
        "",
        "reward 'jpeg-compressibility' is provided by",
    ),
    "newer-core": ("newer-core", "raise AssertionError('not to be imported')", "dagsdk>=99", "it requires dagsdk>=99"),
}

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "x-{name}"
version = "1.0"
dependencies = ["{requires}"]
[project.entry-points.dagsdk]
{entry} = "x_{module}"
[tool.hatch.build.targets.wheel]
packages = ["x_{module}"]
"""

RUN = """
output = "run"
trackers = []
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
name = "jpeg-compressibility"
[objective]
name = "dag-db"
[rollout]
steps = 4
[state_flow]
widths = [16, 32]
[train]
epochs = 2
trajectories = 8
[evaluate]
samples = 2
"""


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with this one's plugins and the ten broken ones."""
    folder = tmp_path_factory.mktemp("broken")
    projects = []
    for name, (entry, source, requires, _) in BROKEN.items():
        module = name.replace("-", "_")
        package = folder / name / f"x_{module}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(source, encoding="utf-8")
        text = PROJECT.format(name=name, module=module, entry=entry, requires=requires or "attrs")
        (folder / name / "pyproject.toml").write_text(text, encoding="utf-8")
        projects.append(folder / name)
    python = environment(folder / "environment")
    install(python, *projects)
    return python


def dagsdk(python: Path | str, *arguments: str, folder: Path) -> str:
    command = [python, "-m", "dagsdk", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def test_each_failure_is_reported_in_one_line(side_by_side: Path, tmp_path: Path) -> None:
    listed = json.loads(dagsdk(side_by_side, "plugins", "--json", folder=tmp_path))["plugins"]
    by_distribution = {plugin["distribution"]: plugin for plugin in listed}
    assert len([plugin for plugin in listed if plugin["status"] == "failed"]) == len(BROKEN) == 10
    table = dagsdk(side_by_side, "plugins", folder=tmp_path).splitlines()
    for name, (entry, _, _, reason) in BROKEN.items():
        assert by_distribution[f"x-{name}"]["status"] == "failed"
        [line] = [line for line in table if line.startswith(f"plugin '{entry}' (x-{name} 1.0) failed: ")]
        assert reason in line
    assert {by_distribution[good]["status"] for good in ("dagsdk", "dagsdk-shapes", "dagsdk-jpeg")} == {"ok"}


def test_a_run_gives_the_same_bits_as_without_them(side_by_side: Path, tmp_path: Path) -> None:
    bits = []
    for name, python in (("without", sys.executable), ("with", str(side_by_side))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.toml").write_text(RUN, encoding="utf-8")
        dagsdk(python, "train", "run.toml", folder=folder)
        lines = (folder / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        metrics = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
        saved = (folder / "run/checkpoints/epoch-0002").glob("*.safetensors")
        # not the files' bytes: safetensors writes the metadata of a header in no fixed order
        bits.append((metrics, {(file.name, k): v for file in saved for k, v in load_file(file).items()}))
    (metrics, tensors), (others, other_tensors) = bits
    assert len(metrics) == 2 and metrics == others
    assert "pytorch_lora_weights.safetensors" in {file for file, _ in tensors}
    assert tensors.keys() == other_tensors.keys()
    assert all(torch.equal(value, other_tensors[key]) for key, value in tensors.items())
