"""Whole runs with the objectives over trajectories and their pieces, on images and on points."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
plugins = []
[model]
name = "{model}"
{more}
[prompts]
name = "texts"
texts = ["a red circle", "a blue star"]
[[rewards]]
name = "{reward}"
[objective]
name = "{objective}"
[rollout]
steps = 4
guidance_scale = {guidance}
images_per_prompt = {images}
[state_flow]
widths = [8, 8]
[train]
epochs = 2
trajectories = 8
updates = 1
learning_rate = 1e-2
[evaluate]
samples = 4
[checkpoint]
every = 1
"""

REWARD = """
from dagsdk import RewardSpec, hookimpl


@hookimpl
def dagsdk_rewards():
    yield RewardSpec(
        name="centred",
        summary="For points near the origin",
        build=lambda options, context: lambda points, prompts: -points.square().flatten(1).sum(1),
    )
"""

WHOLE = pytest.mark.parametrize("objective", ["tb", "relative-tb"])
OBJECTIVES = pytest.mark.parametrize("objective", ["tb", "relative-tb", "subtb"])


@pytest.fixture
def run_file(tmp_path: Path):
    def write(objective: str, model: str, images: int = 4) -> list[str]:
        (tmp_path / "mine.py").write_text(REWARD)
        points = model == "vector"
        path = tmp_path / "run.toml"
        path.write_text(
            RUN.format(
                output=tmp_path / "run",
                objective=objective,
                model=model,
                more="pretrain = 20" if points else "",
                reward="centred" if points else "shapes-match",
                guidance=1.0 if points else 3.0,
                images=images,
            )
        )
        return [str(path), "--set", 'plugins=["./mine.py"]']

    return write


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@OBJECTIVES
@pytest.mark.parametrize("model", ["shapes", "vector"])
def test_trains(run_file, tmp_path: Path, objective: str, model: str) -> None:
    assert main(["train", *run_file(objective, model)]) == 0
    found = lines(tmp_path / "run")
    assert [line["epoch"] for line in found] == [1, 2]
    for line in found:
        assert line["subtrajectory" if objective == "subtb" else "residual_variance"] > 0
        assert line["grad_norm/policy"] > 0
        assert line["transitions"] == 32
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
    if objective == "relative-tb":
        # the policy of the first epoch is the reference, so that d = -β r
        assert found[0]["log_z"] == pytest.approx(found[0]["reward/mean"], abs=1e-4)


@OBJECTIVES
def test_a_resumed_run_ends_in_the_same_bits(run_file, tmp_path: Path, objective: str) -> None:
    arguments = run_file(objective, "vector")
    assert main(["train", *arguments]) == 0
    weights = "checkpoints/epoch-0002/trained.safetensors"
    whole = (tmp_path / "run" / weights).read_bytes()
    again = ["--set", f'output="{tmp_path}/again"']
    assert main(["train", *arguments, *again]) == 0
    second = tmp_path / "again" / "checkpoints" / "epoch-0002"
    for file in sorted(second.iterdir()):
        file.unlink()
    second.rmdir()
    assert main(["train", *arguments, *again, "--resume"]) == 0
    assert (tmp_path / "again" / weights).read_bytes() == whole


@WHOLE
def test_one_image_per_prompt_is_refused_unless_the_epoch_is_compared(
    run_file, tmp_path: Path, capsys, objective: str
) -> None:
    arguments = run_file(objective, "vector", images=1)
    assert main(["train", *arguments]) == 1
    shown = capsys.readouterr().err
    assert f"objective.name: objective '{objective}' with these options compares the images of a prompt" in shown
    assert "set rollout.images_per_prompt >= 2" in shown and not (tmp_path / "run").exists()
    assert main(["train", *arguments, "--set", 'objective.group="epoch"']) == 0
