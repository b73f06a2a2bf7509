"""Whole runs on the embedded model with the objectives of dagsdk-rl and the rollout of dagsdk-b2."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from dagsdk.cli.main import main
from dagsdk.config.files import structure_run
from dagsdk.registry import load_registry
from dagsdk.run.trainer import Trainer

RUN = """
output = "{output}"
trackers = []
[model]
name = "shapes"
[prompts]
{prompts}
[[rewards]]
name = "jpeg-compressibility"
[objective]
{objective}
[rollout]
steps = 4
guidance_scale = 3.0
{rollout}
[state_flow]
widths = [16, 32]
[train]
epochs = {epochs}
trajectories = {trajectories}
[evaluate]
samples = 4
[checkpoint]
every = 1
"""

TEXTS = 'name = "texts"\ntexts = ["a red circle", "a blue star"]'
B2 = 'name = "b2"\nfirst = 2\nlast = 0'
HISTORY = 'name = "ddpo"\nhistory = 6\nmin_count = 2'


def written(folder: Path, objective: str, rollout: str = "", **given: Any) -> str:
    values = {"prompts": 'name = "shapes"', "epochs": 2, "trajectories": 8, **given}
    return RUN.format(output=folder / "run", objective=objective, rollout=rollout, **values)


def trained(folder: Path, *given: Any, **more: Any) -> list[dict[str, Any]]:
    """The metrics of a run from the command line."""
    file = folder / "run.toml"
    file.write_text(written(folder, *given, **more))
    assert main(["train", str(file)]) == 0
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    return lines


@pytest.mark.parametrize("variant", ["clip", "weighted"])
def test_ddpo_trains(tmp_path: Path, variant: str) -> None:
    lines = trained(tmp_path, f'name = "ddpo"\nvariant = "{variant}"')
    assert all(line["grad_norm/policy"] > 0 and line["transitions"] == 32 for line in lines)
    assert all(line["tracked"] == 0 for line in lines)  # no prompt has sixteen rewards yet
    assert all(("ratio_gap" in line) == (variant == "clip") for line in lines)


@pytest.mark.parametrize("kl", ["x", "output"])
def test_grpo_trains_near_the_reference(tmp_path: Path, kl: str) -> None:
    lines = trained(tmp_path, f'name = "grpo"\nkl_weight = 0.1\nkl = "{kl}"', "images_per_prompt = 4")
    distance = "reference_kl" if kl == "x" else "reference_gap"
    assert all(line["zero_std_groups"] == 0 and line["grad_norm/policy"] > 0 for line in lines)
    assert all(line[distance] > 0 for line in lines[1:])


def test_grpo_without_groups_is_one_clear_error(tmp_path: Path, capsys) -> None:
    file = tmp_path / "run.toml"
    file.write_text(written(tmp_path, 'name = "grpo"'))
    assert main(["train", str(file)]) == 1
    shown = capsys.readouterr().err
    assert "set rollout.images_per_prompt >= 2" in shown and "Traceback" not in shown
    assert not (tmp_path / "run").exists()  # the run file was enough to see it


@pytest.mark.parametrize("objective", ['name = "ddpo"', 'name = "grpo"', 'name = "dag-db"\nbeta = 10.0'])
def test_b2_trains_under_any_objective(tmp_path: Path, objective: str) -> None:
    lines = trained(tmp_path, objective, B2, trajectories=10)
    assert all(1 <= line["kept"] <= 4 for line in lines)
    # 2 + ⌊i (4 - 2 + 1) / 2⌋ steps of each that is kept
    assert [line["transitions"] for line in lines] == [2 * lines[0]["kept"], 3 * lines[1]["kept"]]


@pytest.mark.parametrize("objective", ['name = "ddpo"', 'name = "dag-db"\nbeta = 10.0'])
def test_epochs_of_which_nothing_is_kept_make_no_step(tmp_path: Path, objective: str) -> None:
    lines = trained(tmp_path, objective, B2 + "\nkeep_above = 9.0", trajectories=10)
    assert all(line["kept"] == line["transitions"] == 0 and "grad_norm/policy" not in line for line in lines)
    first, last = (weights(tmp_path, epoch) for epoch in (1, 2))
    assert first == last


def weights(folder: Path, epoch: int) -> dict[str, bytes]:
    """The bits of what was trained."""
    tensors = load_file(folder / "run" / "checkpoints" / f"epoch-{epoch:04d}" / "trained.safetensors")
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def run(folder: Path, *given: Any, resume: bool = False) -> Trainer:
    tables = tomllib.loads(written(folder, *given, prompts=TEXTS, epochs=3, trajectories=10))
    registry = load_registry()
    return Trainer(structure_run(tables, registry, source="run.toml"), registry, resume=resume)


@pytest.mark.parametrize(
    ("part", "objective", "rollout"),
    [
        ("objective", HISTORY, ""),
        ("rollout", 'name = "dag-db"\nbeta = 10.0', B2 + '\ngroup = "prompt-history"'),
    ],
    ids=["ddpo", "b2"],
)
def test_stopped_and_resumed_it_ends_in_the_same_bits(tmp_path: Path, part: str, objective: str, rollout: str) -> None:
    given = (objective, rollout)
    list(run(tmp_path / "straight", *given))
    stopped = iter(run(tmp_path / "stopped", *given))
    next(stopped), next(stopped)
    stopped.close()
    again = run(tmp_path / "stopped", *given, resume=True)
    assert getattr(again.components, part).state_dict()["rewards"].keys() == {"a red circle", "a blue star"}
    assert [line["epoch"] for line in again] == [3]
    assert weights(tmp_path / "stopped", 3) == weights(tmp_path / "straight", 3)
    assert weights(tmp_path / "straight", 2) != weights(tmp_path / "straight", 3)


def test_the_history_is_what_makes_it_so(tmp_path: Path) -> None:
    """Had a resumed run forgotten the rewards, it would end elsewhere."""
    list(run(tmp_path / "straight", HISTORY))
    stopped = iter(run(tmp_path / "stopped", HISTORY))
    next(stopped), next(stopped)
    stopped.close()
    again = run(tmp_path / "stopped", HISTORY, resume=True)
    again.components.objective.load_state_dict({"rewards": {}})
    list(again)
    assert weights(tmp_path / "stopped", 3) != weights(tmp_path / "straight", 3)
