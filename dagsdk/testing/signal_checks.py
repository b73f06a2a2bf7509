"""The contract of objectives, continued: the signals of an epoch, and the state from epoch to epoch."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dagsdk.objectives.protocol import Objective
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.run import checkpoints
from dagsdk.testing.check import NotApplicable, require
from dagsdk.testing.objective_case import ObjectiveCase
from dagsdk.testing.records import changed, finite, same, tensors
from dagsdk.testing.trajectories import equally_rewarded


def _sampled_in_a_run(case: ObjectiveCase) -> Iterator[Trajectories]:
    """The trajectories of the first, a middle and the last epoch."""
    return (case.trajectories(epoch) for epoch in sorted({0, case.epochs // 2, case.epochs - 1}))


def check_signals_are_valid(case: ObjectiveCase) -> None:
    """Signals are finite: β, metrics as plain numbers, and float values without gradient on the rewards' device."""
    objective = case.build()
    for sampled in _sampled_in_a_run(case):
        signals, epoch, device = case.prepare(objective, sampled), sampled.epoch, sampled.rewards.device
        for name, value in {"beta": signals.beta, **{f"metrics[{k!r}]": v for k, v in signals.metrics.items()}}.items():
            require(
                isinstance(value, int | float) and math.isfinite(value),
                f"{case.name}: prepare returned {name} = {value!r} in epoch {epoch}; it must be a finite float",
            )
        values = signals.values
        if values is not None:
            require(
                values.is_floating_point() and not values.requires_grad and values.device == device,
                f"{case.name}: prepare returned values of {values.dtype} on {values.device}, with requires_grad "
                f"{values.requires_grad}; they must be floats on {device} without a gradient",
            )
            require(finite([values]), f"{case.name}: prepare returned values that are not finite: {values.tolist()}")


def check_one_trajectory_is_enough(case: ObjectiveCase) -> None:
    """An epoch of one trajectory, or of one prompt where images are compared, has finite signals."""
    objective, sampled = case.build(), case.trajectories()
    count = int((sampled.group == sampled.group[0]).sum()) if case.spec.compares(case.structured) else 1
    signals = case.prepare(objective, sampled.part(slice(count)))
    require(
        finite([signals.values]) and math.isfinite(signals.beta),
        f"{case.name}: prepare returned signals that are not finite for {count} "
        f"{'trajectory' if count == 1 else 'trajectories of one prompt'}; a single value has no spread: use "
        "`correction=0` and add a small number before dividing",
    )


def check_equal_rewards_are_handled(case: ObjectiveCase) -> None:
    """Trajectories that all have the same reward have finite signals."""
    for reward in (0.0, 0.3):
        signals = case.prepare(case.build(), equally_rewarded(case.trajectories(), reward))
        require(
            finite([signals.values]) and math.isfinite(signals.beta),
            f"{case.name}: prepare returned signals that are not finite where every reward is {reward}; add a small "
            "number to a spread before dividing by it",
        )


def check_trajectories_are_not_changed(case: ObjectiveCase) -> None:
    """Preparing does not change the trajectories."""
    sampled = case.trajectories()
    before = tensors(sampled)
    case.prepare(case.build(), sampled)
    found = changed(before, sampled)
    require(not found, f"{case.name}: prepare changed {', '.join(found)}; use no operation that ends in `_`")


# --- its state ---


def _epoch(case: ObjectiveCase, objective: Objective, epoch: int) -> Any:
    """Takes the objective through an epoch; returns its signals and losses."""
    sampled = case.trajectories(epoch)
    signals = case.prepare(objective, sampled)
    loss = case.loss(case.batch(of=sampled, signals=signals, seed=epoch), objective)
    return [signals.beta, signals.values, dict(signals.metrics), loss.values, dict(loss.metrics)]


def check_state_survives_a_checkpoint(case: ObjectiveCase) -> None:
    """Restored from a checkpoint, it continues to the same bits."""
    objective = case.build()
    for epoch in range(2):
        _epoch(case, objective, epoch)
    with TemporaryDirectory() as folder:
        path = checkpoints.save(Path(folder), 2, {"objective": objective.state_dict()}, {}, lambda _: None)
        _, sections, _ = checkpoints.load(path)
    restored = case.build()
    restored.load_state_dict(sections["objective"])
    for epoch in (2, 3):
        require(
            same(_epoch(case, objective, epoch), _epoch(case, restored, epoch)),
            f"{case.name} gives other signals or losses in epoch {epoch} after it was restored from a checkpoint of "
            "epoch 2; return all that it remembers from `state_dict`, and restore it in `load_state_dict`",
        )


def check_state_is_a_snapshot(case: ObjectiveCase) -> None:
    """A state does not change when training continues, with the objective that gave it or with one restored from it."""
    objective, restored = case.build(), case.build()
    _epoch(case, objective, 0)
    state = objective.state_dict()
    if not state:
        raise NotApplicable("it has no state")
    before = copy.deepcopy(state)
    restored.load_state_dict(state)
    for which, continued in (("the objective", objective), ("an objective that was restored from it", restored)):
        _epoch(case, continued, 1)
        require(
            same(before, state),
            f"{case.name}: a state changed when training continued with {which}; copy in `state_dict` and in "
            "`load_state_dict` (`.clone()`, `copy.deepcopy`)",
        )


SIGNAL_CHECKS = (
    check_signals_are_valid,
    check_one_trajectory_is_enough,
    check_equal_rewards_are_handled,
    check_trajectories_are_not_changed,
    check_state_survives_a_checkpoint,
    check_state_is_a_snapshot,
)
