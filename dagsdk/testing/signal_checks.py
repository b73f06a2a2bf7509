"""What holds for an objective from epoch to epoch: the signals that it prepares, and its state."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from attrs import evolve

from dagsdk import checkpoints
from dagsdk.objectives.protocol import Needs, Objective
from dagsdk.testing.check import NotApplicable, require
from dagsdk.testing.objective_case import ObjectiveCase
from dagsdk.testing.trajectories import Sampled, changed, finite, same, tensors


def _seen_in_a_run(case: ObjectiveCase) -> Iterator[Sampled]:
    """The trajectories of the first, a middle and the last epoch."""
    return (case.seen(epoch) for epoch in sorted({0, case.epochs // 2, case.epochs - 1}))


def check_signals_are_usable(case: ObjectiveCase) -> None:
    """Signals are finite: β, metrics as plain numbers, and float values without gradient on the scores' device."""
    objective = case.build()
    for seen in _seen_in_a_run(case):
        signals = case.prepare(objective, seen)
        for name, value in {"beta": signals.beta, **{f"metrics[{k!r}]": v for k, v in signals.metrics.items()}}.items():
            require(
                isinstance(value, int | float) and math.isfinite(value),
                f"{case.name}: prepare returned {name} = {value!r} in epoch {seen.epoch}; it must be a finite float",
            )
        values = signals.values
        if values is not None:
            require(
                values.is_floating_point() and not values.requires_grad and values.device == seen.scores.device,
                f"{case.name}: prepare returned values of {values.dtype} on {values.device}, with requires_grad "
                f"{values.requires_grad}; they must be floats on {seen.scores.device} without a gradient",
            )
            require(finite([values]), f"{case.name}: prepare returned values that are not finite: {values.tolist()}")


def check_one_trajectory_is_enough(case: ObjectiveCase) -> None:
    """An epoch of one trajectory, or of one prompt where groups are needed, has finite signals."""
    objective, seen = case.build(), case.seen()
    count = int((seen.group == seen.group[0]).sum()) if Needs.GROUPS in objective.needs else 1
    signals = case.prepare(objective, seen.take(torch.arange(count)))
    require(
        finite([signals.values]) and math.isfinite(signals.beta),
        f"{case.name}: prepare returned signals that are not finite for {count} "
        f"{'trajectory' if count == 1 else 'trajectories of one prompt'}; one value alone has no spread: use "
        "`correction=0` and add a small number before dividing",
    )


def check_equal_scores_are_survived(case: ObjectiveCase) -> None:
    """Trajectories that all have the same score have finite signals."""
    for level in (0.0, 0.3):
        seen = case.seen()
        signals = case.prepare(case.build(), evolve(seen, scores=torch.full_like(seen.scores, level)))
        require(
            finite([signals.values]) and math.isfinite(signals.beta),
            f"{case.name}: prepare returned signals that are not finite where every score is {level}; add a small "
            "number to a spread before dividing by it",
        )


def check_trajectories_are_left_as_they_were(case: ObjectiveCase) -> None:
    """Preparing does not change the trajectories."""
    seen = case.seen()
    before = tensors(seen)
    case.prepare(case.build(), seen)
    spoilt = changed(before, seen)
    require(not spoilt, f"{case.name}: prepare changed {', '.join(spoilt)}; use no operation that ends in `_`")


# --- its state ---


def _epoch(case: ObjectiveCase, objective: Objective, epoch: int) -> Any:
    """Takes the objective through an epoch; all that comes of it."""
    seen = case.seen(epoch)
    signals = case.prepare(objective, seen)
    loss = case.loss(case.batch(of=seen, signals=signals, seed=epoch), objective)
    return [signals.beta, signals.values, dict(signals.metrics), loss.values, dict(loss.metrics)]


def check_state_survives_a_checkpoint(case: ObjectiveCase) -> None:
    """Restored from a checkpoint, it goes on to the same bits."""
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
            f"{case.name} gives other signals or losses in epoch {epoch} once it was restored from a checkpoint of "
            "epoch 2; put all that it remembers into `state_dict`, and take it from there in `load_state_dict`",
        )


def check_a_state_is_a_snapshot(case: ObjectiveCase) -> None:
    """A state that was taken does not change when training goes on, here or where it was restored."""
    objective, restored = case.build(), case.build()
    _epoch(case, objective, 0)
    state = objective.state_dict()
    if not state:
        raise NotApplicable("it has no state")
    before = copy.deepcopy(state)
    restored.load_state_dict(state)
    for told, going_on in (("went on", objective), ("was restored elsewhere and went on", restored)):
        _epoch(case, going_on, 1)
        require(
            same(before, state),
            f"{case.name}: a state that was taken changed when the objective {told}; copy in `state_dict` and in "
            "`load_state_dict` (`.clone()`, `copy.deepcopy`)",
        )


SIGNAL_CHECKS = (
    check_signals_are_usable,
    check_one_trajectory_is_enough,
    check_equal_scores_are_survived,
    check_trajectories_are_left_as_they_were,
    check_state_survives_a_checkpoint,
    check_a_state_is_a_snapshot,
)
