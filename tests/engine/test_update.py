"""Learning rates by epoch, and which transitions an epoch's updates see."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from tiny_run import Versions, components, config

from dagsdk.objectives.protocol import Loss, Signals, Transitions
from dagsdk.run.trainer import Trainer

HALF = math.sqrt(0.5)
FACTORS = {
    "none": [1.0, 1.0, 1.0, 1.0],
    "linear": [1.0, 0.75, 0.5, 0.25],
    "cosine": [1.0, (1 + HALF) / 2, 0.5, (1 - HALF) / 2],
}


def trainer(output: Path, *, resume: bool = False, learned: bool = False, **train: Any) -> Trainer:
    run = config(output, auxiliary_learning_rate=2e-2, noise_learning_rate=4e-2, **train)
    if learned:
        run = evolve(run, rollout=evolve(run.rollout, variance="learned"))
    live = components(output.parent / f"{output.name}-model")
    return Trainer(run, Versions(), resume=resume, components=live)


def rates(run: Trainer) -> list[float]:
    return [group["lr"] for group in run.engine.updater.optimiser.param_groups]


@pytest.mark.parametrize("decay", FACTORS)
def test_learning_rates_fall_by_epoch(tmp_path: Path, decay: str) -> None:
    run = trainer(tmp_path / "run", learned=True, decay=decay)
    assert list(run.engine.updater.parameters) == ["policy", "noise", "state_flow"]
    found = [rates(run) for _ in run]
    expected = [[lr * factor for lr in (1e-2, 4e-2, 2e-2)] for factor in FACTORS[decay]]
    assert found == [pytest.approx(row) for row in expected]


def weights(run: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for group in run.engine.updater.parameters.values() for p in group]


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
        self.objective, self.steps = objective, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.objective, name)

    def loss(self, batch: Transitions) -> Loss:
        self.steps += batch.step.tolist()
        return self.objective.loss(batch)


@pytest.mark.parametrize(
    ("strata", "counts"),
    [
        (0, [6, 6, 6, 6]),  # every step
        (1, [None, None, None, 6]),  # one of the three before the last
        (2, [6, None, None, 6]),  # a part of one step, and one of two
        (3, [6, 6, 6, 6]),
        (9, [6, 6, 6, 6]),  # fewer steps than strata: each is a part
    ],
)
def test_an_epoch_trains_on_a_step_of_each_stratum(tmp_path: Path, strata: int, counts: list[int | None]) -> None:
    """Of four steps, three stand before the last. counts: how often each step is trained; None depends on the draw."""
    run = trainer(tmp_path / "run", strata=strata, epochs=3)
    watching = Watching(run.components.objective)
    run.engine.updater.objective = watching
    seen = []
    for line in run:
        found = [watching.steps.count(k) for k in range(4)]
        assert [
            count if expected is not None else None for count, expected in zip(found, counts, strict=True)
        ] == counts
        assert line["transitions"] == sum(found) == 6 * (min(strata, 3) + 1 if strata else 4)
        seen.append(tuple(watching.steps))
        watching.steps.clear()
    assert len(set(seen)) == 3  # drawn and shuffled anew in each epoch


def test_each_pass_draws_its_own_steps(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", strata=1, passes=2, updates=1, epochs=1)
    watching = Watching(run.components.objective)
    run.engine.updater.objective = watching
    [line] = run
    assert line["transitions"] == 2 * 6 * 2
    first, second = watching.steps[:12], watching.steps[12:]
    assert first.count(3) == second.count(3) == 6 and sorted(first) != sorted(second)


def test_weight_decay_shrinks_weights(tmp_path: Path) -> None:
    """AdamW takes lr · decay of a weight away per step (arXiv 1711.05101), whatever its gradient."""
    ends = {}
    for decay in (0.0, 10.0):
        run = trainer(tmp_path / f"{decay}", weight_decay=decay, epochs=1, updates=1, ema=0.0)
        run.engine.updater.objective = Still()
        before = run.engine.trained.state()["trained"]
        list(run)
        ends[decay] = run.engine.trained.state()["trained"]
    for name, weights in before.items():
        assert torch.equal(ends[0.0][name], weights)
        torch.testing.assert_close(ends[10.0][name], weights * (1 - 1e-2 * 10.0))


class Still:
    """An objective without a gradient, and without a state."""

    def prepare(self, trajectories: Any) -> Signals:
        return Signals()

    def loss(self, batch: Transitions) -> Loss:
        return Loss(values=0 * batch.log_pf)

    def state_dict(self) -> dict[str, Any]:
        return {}


def test_gradients_are_clipped_for_each_network_by_itself(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", max_grad_norm=1e-3, epochs=1, updates=1)
    seen = {}

    def step() -> None:
        for name, parameters in run.engine.updater.parameters.items():
            seen[name] = float(torch.stack([p.grad.norm() for p in parameters]).norm())

    run.engine.updater.optimiser.step = step
    [line] = run
    assert seen.keys() == {"policy", "state_flow"}
    for name, norm in seen.items():
        assert line[f"grad_norm/{name}"] > 1e-3
        assert norm == pytest.approx(1e-3, rel=1e-3)


def test_the_average_follows_the_weights_and_is_what_is_evaluated(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run", ema=0.9, updates=1, epochs=3)
    trained, decay = run.engine.trained, []
    averages = [[p.detach().clone() for p in trained._all]]
    for _ in run:
        with trained.training():
            weights = [p.detach().clone() for p in trained._all]
        average = [p.detach().clone() for p in trained._all]
        # average ← d · average + (1 - d) · weights, with a d that diffusers raises from step to step
        top = sum(float((new - old).abs().sum()) for new, old in zip(average, averages[-1], strict=True))
        bottom = sum(float((raw - old).abs().sum()) for raw, old in zip(weights, averages[-1], strict=True))
        decay.append(1 - top / bottom)
        assert top > 0
        averages.append(average)
    assert decay == pytest.approx([0, 2 / 11, 3 / 12], abs=1e-3)  # (1 + k) / (10 + k) after step k, at most 0.9
    rewards = run.folder.read_rewards("epoch-0003")
    again = run.held_out.evaluate(run.engine.plain_sampler, run.counter).rewards
    assert again == rewards
    with trained.training():
        raw = run.held_out.evaluate(run.engine.plain_sampler, run.counter).rewards
    assert raw != rewards
