"""Resumed from the checkpoint of its second epoch, any run ends in the bits of one that never stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import Tables, registry_with_rewards, structured, tables, without_pictures

from dagsdk.registry import Registry, load_registry
from dagsdk.run.trainer import Trainer

INSTALLED = load_registry()
OBJECTIVES = INSTALLED.names("objectives")
OFF_POLICY = [name for name in OBJECTIVES if INSTALLED.get("objectives", name).off_policy]

REMEMBERS = {"ddpo": {"history": 6, "min_count": 2}}
"""Options with which an objective looks at what it remembers from the second epoch on."""

EVERYTHING: Tables = {
    "train": {"epochs": 4, "trajectories": 8, "ema": 0.5, "decay": "cosine", "passes": 2},
    "evaluate": {"samples": 2, "every": 2},
    "checkpoint": {"every": 2},
}
ON_A_PATH: Tables = {"rollout": {"variance": "learned"}, "train": {**EVERYTHING["train"], "strata": 2}}
"""More for objectives that train on transitions."""
REPLAY: Tables = {"replay": {"trajectories": 3, "capacity": 3}}
HISTORY: Tables = {"rollout": {"variance": "learned", "group": "prompt-history", "keep_above": 0.1}}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registry_with_rewards(tmp_path_factory.mktemp("rewards"))


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


def left(folder: Path) -> dict[str, Any]:
    """All that the last epoch's checkpoint holds, to the bit, and the metrics of all epochs but their seconds."""
    last = folder / "checkpoints" / "epoch-0004"
    found: dict[str, Any] = {"state": json.loads((last / "state.json").read_text(encoding="utf-8"))}
    for file in sorted(last.glob("*.safetensors")):
        tensors = load_file(file)
        found |= {f"{file.stem}: {name}": tensor.numpy().tobytes() for name, tensor in tensors.items()}
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    found["metrics"] = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
    return found


def stopped(registry: Registry, folder: Path, objective: str, rollout: str, more: Tables) -> tuple[dict[str, Any], Any]:
    """What a whole run leaves; and its configuration, whose folder now is that of a run stopped after two epochs."""
    path = ON_A_PATH if registry.get("objectives", objective).batches == "transitions" else {}
    sections = {**EVERYTHING, **path, **more, "objective": REMEMBERS.get(objective, {})}
    config = structured(registry, tables(registry, objective, rollout, "vector", sections), folder)
    for _ in Trainer(config, registry):
        pass
    whole = left(folder)
    shutil.rmtree(folder / "checkpoints" / "epoch-0004")
    return whole, config


def cases() -> Iterator[Any]:
    for objective in OBJECTIVES:
        yield pytest.param(objective, "independent", {}, id=objective)
    for objective in OFF_POLICY:
        yield pytest.param(objective, "independent", REPLAY, id=f"{objective}-replay")
    yield pytest.param("dag-db", "b2", {**HISTORY, **REPLAY}, id="dag-db-history-replay")
    yield pytest.param("ddpo", "b2", HISTORY, id="ddpo-history")


@pytest.mark.parametrize(("objective", "rollout", "more"), list(cases()))
def test_it_ends_in_the_same_bits(
    registry: Registry, tmp_path: Path, objective: str, rollout: str, more: Tables
) -> None:
    whole, config = stopped(registry, tmp_path / "run", objective, rollout, more)
    again = Trainer(config, registry, resume=True)
    assert again.epoch == 2 and not again.warnings
    assert [metrics["epoch"] for metrics in again] == [3, 4]
    resumed = left(tmp_path / "run")
    assert resumed.keys() == whole.keys() and len(whole["metrics"]) == 4
    assert [name for name in whole if whole[name] != resumed[name]] == []
    held = {name.partition(":")[0] for name in whole}
    assert {"trained", "ema", "optimizer", "generators"} <= held
    assert ("noise" in held) == (config.rollout.variance == "learned") == (objective != "rwr")
    for network in ("state_flow", "flow_gradient"):
        assert (network in held) == (network in again.engine.updater.networks)
    assert ("replay" in held) == ("replay" in more)


def test_what_is_kept_for_replay_is_what_makes_it_so(registry: Registry, tmp_path: Path) -> None:
    """Had a resumed run forgotten the images, it would end elsewhere."""
    whole, config = stopped(registry, tmp_path / "run", "dag-db", "independent", REPLAY)
    again = Trainer(config, registry, resume=True)
    best = again.engine.replay.best.rows
    assert {len(kept["rewards"]) for kept in best.values()} == {3}
    best.clear()
    list(again)
    resumed = left(tmp_path / "run")
    assert [a == b for a, b in zip(whole["metrics"], resumed["metrics"], strict=True)] == [True, True, False, False]
    assert any(whole[name] != resumed[name] for name in whole if name.startswith("trained"))


def test_the_learning_rate_keeps_falling(registry: Registry, tmp_path: Path) -> None:
    _, config = stopped(registry, tmp_path / "run", "dag-db", "independent", {})
    again = Trainer(config, registry, resume=True)
    rates = []
    for _ in again:
        rates.append([group["lr"] for group in again.engine.updater.optimiser.param_groups])
    # cosine at 2/4 and 3/4 of the way: 1/2, (1 - 1/√2) / 2
    shares = torch.tensor(rates) / torch.tensor(again.engine.updater.rates)
    torch.testing.assert_close(shares, torch.tensor([[0.5], [(1 - 0.5**0.5) / 2]]).expand_as(shares))
