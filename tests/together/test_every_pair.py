"""Any objective with any rollout on either model runs, or is refused when the run file is read, with the reason.

The table is made of what is installed: a new plugin's objective or rollout is walked without a change here, unless some
of it is refused, which REFUSED then has to say.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Tables, registry_with_rewards, structured, tables, without_pictures

from dagsdk.errors import ConfigError
from dagsdk.registry import Registry, load_registry
from dagsdk.run.trainer import Trainer

INSTALLED = load_registry()
OBJECTIVES = INSTALLED.names("objectives")
ROLLOUTS = INSTALLED.names("rollouts")

ONE_IMAGE = {
    "independent": {"images_per_prompt": 1},
    "b2": {"branches": 1, "images_per_prompt": 1, "group": "prompt-history", "keep_above": 0.0},
}

CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "learned variance": {"rollout": {"variance": "learned"}},
    "replay": {"replay": {"trajectories": 3, "capacity": 2}},
    "last step dropped": {
        "rollout": {"last_step": "drop", "reduction": "sum", "eta": 0.7},
        "forward_looking": {"mode": "current"},
        "train": {"strata": 1, "max_grad_norm": 0.0},
    },
    "whole network": {
        "model": {"train": "full"},
        "forward_looking": {"every": 2},
        "train": {"mixed_precision": "bf16", "transitions": 7, "micro_batch": 3, "passes": 2, "ema": 0.5},
    },
    "forward process": {
        "model": {"train": "full"},
        "rollout": {"eta": 0.0, "last_step": "drop"},
        "train": {"denoisings": 3, "mixed_precision": "bf16", "micro_batch": 3, "passes": 2, "ema": 0.5},
    },
    "blunt reward": {"rewards": [{"name": "blunt"}]},
    "one image": {"train": {"trajectories": 2, "updates": 1}},
    "not divided": {"train": {"trajectories": 3}},
    "normalised": {"rewards": [{"name": "smooth", "normalise": "prompt"}]},
    "one image, normalised": {"train": {"trajectories": 2}, "rewards": [{"name": "smooth", "normalise": "prompt"}]},
}
"""What is put over the smallest run."""

COMPARES = {"grpo", "tb", "relative-tb", "rwr"}
ON_POLICY = {"dag-kl", "ddpo", "grpo", "rwr"}
DIFFERENTIATES = {"nabla-db"}
FORWARD = {"rwr"}
ON_PATHS = set(OBJECTIVES) - FORWARD
WHOLE_PATHS = {"independent"}
"""Rollouts that train every step."""

REFUSED: dict[str, list[tuple[set[str], str]]] = {
    "learned variance": [(FORWARD, 'rollout.variance: "learned" is trained through the density of transitions')],
    "replay": [(ON_POLICY, "replay.trajectories: 3 is not possible with objective {!r}")],
    "last step dropped": [(FORWARD, "train.strata: 1 chooses among the steps of trajectories; objective {!r}")],
    "whole network": [(FORWARD, "train.transitions: 7 chooses among the steps of trajectories; objective {!r}")],
    "forward process": [(ON_PATHS, "rollout.eta: 0 is deterministic sampling, whose transitions have no density")],
    "blunt reward": [(DIFFERENTIATES, "objective {!r} needs REWARD_GRADIENT; reward 'blunt' is not differentiable")],
    "one image": [(COMPARES, "objective {!r} with these options compares the images of a prompt")],
    "not divided": [(set(OBJECTIVES), "train.trajectories: 3 is not a multiple of 2, the images that rollout")],
    "one image, normalised": [
        (set(OBJECTIVES), 'rewards[0].normalise: "prompt" compares the images of a prompt'),
        (COMPARES, "objective {!r} with these options compares the images of a prompt"),
    ],
}
"""Change to the objectives that it is refused for, and the reason, which names them."""


def reasons(objective: str, rollout: str, change: str) -> list[str]:
    """Why this run is refused; none for a run that works."""
    found = [reason.format(objective) for refused, reason in REFUSED.get(change, []) if objective in refused]
    if objective in FORWARD and rollout not in WHOLE_PATHS:
        found.append(f"rollout.name: rollout {rollout!r} trains steps")
    return found


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registry_with_rewards(tmp_path_factory.mktemp("rewards"))


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)


def run_file(registry: Registry, objective: str, rollout: str, model: str, change: str) -> Tables:
    run = tables(registry, objective, rollout, model, CHANGES[change])
    if change.startswith("one image"):
        run["rollout"].update(ONE_IMAGE.get(rollout, {}))
    return run


def weights(run: Trainer) -> dict[str, list[torch.Tensor]]:
    return {name: [p.detach().clone() for p in own] for name, own in run.engine.updater.parameters.items()}


def walked(registry: Registry, folder: Path, objective: str, rollout: str, model: str, change: str) -> None:
    run_tables = run_file(registry, objective, rollout, model, change)
    if refused := reasons(objective, rollout, change):
        with pytest.raises(ConfigError) as error:
            structured(registry, run_tables, folder / "run")
        assert [reason for reason in refused if reason not in str(error.value)] == []
        assert len(error.value.problems) == len(refused)
        return
    # From here on nothing may be refused any more.
    run = Trainer(structured(registry, run_tables, folder / "run"), registry)
    before = weights(run)
    (metrics,) = list(run)
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["transitions"] > 0
    for name, own in weights(run).items():  # there is no weight decay, so that a gradient was what moved them
        assert f"grad_norm/{name}" in metrics
        assert any(not torch.equal(a, b) for a, b in zip(before[name], own, strict=True))
    assert ("noise" in before) == (change == "learned variance")
    assert ("replayed/mean" in metrics) == (change == "replay")
    if change == "replay":
        # one window for all, and nothing that is replayed is left out
        steps = metrics["transitions"] // (metrics["kept"] + 3)
        assert metrics["transitions"] == steps * (metrics["kept"] + 3)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("rollout", ROLLOUTS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_points(registry: Registry, tmp_path: Path, objective: str, rollout: str, change: str) -> None:
    walked(registry, tmp_path, objective, rollout, "vector", change)


@pytest.mark.parametrize("rollout", ROLLOUTS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_on_images(registry: Registry, tmp_path: Path, objective: str, rollout: str) -> None:
    walked(registry, tmp_path, objective, rollout, "shapes", "as it is")


@pytest.mark.parametrize("objective", sorted(set(OBJECTIVES) - ON_POLICY))
def test_on_images_with_replay(registry: Registry, tmp_path: Path, objective: str) -> None:
    walked(registry, tmp_path, objective, "b2", "shapes", "replay")


def test_the_table_has_what_this_repository_ships() -> None:
    shipped = {"dag-db", "dag-kl", "ddpo", "grpo", "tb", "relative-tb", "subtb", "nabla-db", "rwr"}
    assert shipped <= set(OBJECTIVES)
    assert {name for name in shipped if INSTALLED.get("objectives", name).batches == "denoisings"} == FORWARD
    assert {"independent", "b2"} <= set(ROLLOUTS)


def test_all_reasons_come_at_once(registry: Registry, tmp_path: Path) -> None:
    run = run_file(registry, "grpo", "independent", "vector", "one image, normalised")
    with pytest.raises(ConfigError) as error:
        structured(registry, {**run, "replay": {"trajectories": 1}}, tmp_path / "run")
    paths = [problem.partition(":")[0] for problem in error.value.problems]
    assert paths == ["rewards[0].normalise", "objective.name", "replay.trajectories", "rewards[0].normalise"]
