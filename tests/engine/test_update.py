"""Learning rates by epoch, and which transitions an epoch's updates see."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config

from dagsdk.engine.trainer import Trainer
from dagsdk.objectives.protocol import Loss, Transitions

HALF = math.sqrt(0.5)
FACTORS = {
    "none": [1.0, 1.0, 1.0, 1.0],
    "linear": [1.0, 0.75, 0.5, 0.25],
    "cosine": [1.0, (1 + HALF) / 2, 0.5, (1 - HALF) / 2],
}


def trainer(output: Path, *, resume: bool = False, learned: bool = False, **train: Any) -> Trainer:
    run = config(output, flow_learning_rate=2e-2, noise_learning_rate=4e-2, **train)
    if learned:
        run = evolve(run, rollout=evolve(run.rollout, variance="learned"))
    live = components(output.parent / f"{output.name}-model")
    return Trainer(run, Versions(), resume=resume, components=live)


def rates(run: Trainer) -> list[float]:
    return [group["lr"] for group in run.updater.optimiser.param_groups]


@pytest.mark.parametrize("decay", FACTORS)
def test_learning_rates_fall_by_epoch(tmp_path: Path, decay: str) -> None:
    run = trainer(tmp_path / "run", learned=True, decay=decay)
    assert list(run.updater.parameters) == ["policy", "noise", "flow"]
    found = [rates(run) for _ in run]
    expected = [[lr * factor for lr in (1e-2, 4e-2, 2e-2)] for factor in FACTORS[decay]]
    assert found == [pytest.approx(row) for row in expected]


def weights(run: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for group in run.updater.parameters.values() for p in group]


def test_a_resumed_run_has_the_same_rates_strata_and_bits(tmp_path: Path) -> None:
    given = {"decay": "cosine", "strata": 2}
    straight = trainer(tmp_path / "straight", **given)
    lines = list(straight)
    stopped = iter(trainer(tmp_path / "stopped", **given))
    next(stopped), next(stopped)
    stopped.close()
    again = trainer(tmp_path / "stopped", resume=True, **given)
    found, resumed = [], []
    for line in again:
        found.append(rates(again))
        resumed.append(line)
    assert found == [pytest.approx([lr * factor for lr in (1e-2, 2e-2)]) for factor in FACTORS["cosine"][2:]]
    assert [line["loss"] for line in resumed] == [line["loss"] for line in lines[2:]]
    assert all(torch.equal(one, other) for one, other in zip(weights(again), weights(straight), strict=True))


class Watching:
    """An objective that writes down which steps it has seen."""

    def __init__(self, objective: Any) -> None:
        self.objective, self.needs, self.steps = objective, objective.needs, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def loss(self, batch: Transitions) -> Loss:
        self.steps += batch.step.tolist()
        return self.objective.loss(batch)


@pytest.mark.parametrize(
    ("strata", "counts"), [(0, (6, 6, 6, 6)), (1, None), (2, None), (3, (6, 6, 6, 6)), (9, (6,) * 4)]
)
def test_an_epoch_trains_on_a_step_of_each_stratum(tmp_path: Path, strata: int, counts: Any) -> None:
    """Of four steps, three stand before the last."""
    run = trainer(tmp_path / "run", strata=strata, epochs=3)
    watching = Watching(run.components.objective)
    run.updater.objective = watching
    seen = []
    for line in run:
        found = [watching.steps.count(k) for k in range(4)]
        assert line["transitions"] == sum(found) == 6 * (min(strata, 3) + 1 if strata else 4)
        assert found[3] == 6
        if strata in (0, 3, 9):  # every step
            assert found == [6, 6, 6, 6]
        if strata == 2:  # parts of one and of two steps
            assert found[0] == 6 and found[1] + found[2] == 6
        seen.append(tuple(watching.steps))
        watching.steps.clear()
    assert len(set(seen)) == 3  # drawn and shuffled anew in each epoch


def test_each_pass_draws_its_own_steps(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", strata=1, passes=2, updates=1, epochs=1)
    watching = Watching(run.components.objective)
    run.updater.objective = watching
    [line] = run
    assert line["transitions"] == 2 * 6 * 2
    first, second = watching.steps[:12], watching.steps[12:]
    assert first.count(3) == second.count(3) == 6 and sorted(first) != sorted(second)
