"""The contract of objectives, continued: their losses."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.objectives.protocol import Denoisings, Objective, Transitions
from dagsdk.objectives.trajectories import along
from dagsdk.testing.check import require
from dagsdk.testing.objective_case import ObjectiveCase, gradients, shown
from dagsdk.testing.records import TRAINED, changed, finite, same, tensors, with_leaves
from dagsdk.testing.trajectories import FAR


def check_one_loss_per_row(case: ObjectiveCase) -> None:
    """A batch of n rows gets losses of shape (n,)."""
    shape, expected = tuple(case.loss(case.batch()).values.shape), (case.rows,)
    require(
        shape == expected,
        f"{case.name} returned losses of shape {shape} for {case.rows} {case.row}s; it must be {expected}: do not "
        "average them, the engine does",
    )


def check_losses_are_float32(case: ObjectiveCase) -> None:
    """Losses are float32."""
    dtype = case.loss(case.batch()).values.dtype
    require(
        dtype == torch.float32, f"{case.name} returned losses of {dtype}; they must be torch.float32: use `.float()`"
    )


def check_a_batch_of_one(case: ObjectiveCase) -> None:
    """A batch of one row gets one finite loss."""
    values = case.loss(case.batch(n=1)).values
    require(
        len(values.shape) > 0 and len(values) == 1,
        f"{case.name} returned shape {tuple(values.shape)} for one {case.row}; it must be (1,): do not squeeze",
    )
    require(finite([values]), f"{case.name} returned {values.tolist()} for a single {case.row}; it must be finite")


def check_losses_are_finite(case: ObjectiveCase) -> None:
    """Losses and gradients are finite, also in the first update, when nothing has moved yet."""
    for moved in (0.01, 0.0):
        _require_finite(case, case.batch(moved=moved), f"policy that moved by {moved:g} since sampling")


def check_extreme_values_are_handled(case: ObjectiveCase) -> None:
    """Losses and gradients are finite where values are huge and the policy moved far since it sampled."""
    objective, sampled = case.build(), case.trajectories(large=True)
    signals = case.prepare(objective, sampled)
    batch = case.batch(of=sampled, signals=signals, moved=FAR, large=True)
    given = f"batch with values of up to 1e4 and a policy that moved by up to {FAR:g} since sampling"
    _require_finite(case, batch, given, objective)


def _require_finite(
    case: ObjectiveCase, batch: Transitions | Denoisings, given: str, objective: Objective | None = None
) -> None:
    loss = case.loss(batch, objective)
    require(
        finite([loss.values]),
        f"{case.name} returned a loss that is not finite for a {given}; stay in logarithms, and clamp what is "
        "exponentiated",
    )
    bad = [name for name, gradient in gradients(loss, batch).items() if not finite([gradient])]
    require(
        not bad,
        f"{case.name} has a gradient in {', '.join(bad)} that is not finite for a {given}; look for a root or a "
        "quotient at 0, or an overflow that torch.where hides",
    )


def check_order_does_not_matter(case: ObjectiveCase) -> None:
    """The rows of a batch in another order have the same losses in that order."""
    batch = case.batch()
    reversed_batch = with_leaves(along(lambda value: value.flip(0), batch), TRAINED[case.kind])
    values, others = case.loss(batch).values.detach(), case.loss(reversed_batch).values.detach().flip(0)
    slack = case.tolerance * (1 + float(values.abs().max()))
    require(
        torch.allclose(values, others, rtol=0, atol=slack, equal_nan=True),
        f"{case.name} gives a {case.row} another loss at another place of the batch (by up to "
        f"{float((values - others).abs().max()):g}); a batch is any mix of samples and times in any order",
    )


def check_the_same_input_gives_the_same_loss(case: ObjectiveCase) -> None:
    """The same batch twice gives the same bits."""
    first, second = (case.loss(case.batch()).values for _ in range(2))
    require(
        same(first, second),
        f"{case.name} gives the same batch another loss the second time; draw nothing at random, and let only "
        "`prepare` change what the objective remembers",
    )


def check_the_batch_is_not_changed(case: ObjectiveCase) -> None:
    """Computing a loss does not change the batch."""
    batch = case.batch()
    before = tensors(batch)
    case.loss(batch)
    found = changed(before, batch)
    require(not found, f"{case.name}: loss changed {', '.join(found)}; use no operation that ends in `_`")


def check_metrics_are_tensors(case: ObjectiveCase) -> None:
    """Metrics are finite tensors of shape () or (n,), without gradient, each with a name."""
    for n in (case.rows, 1):
        for name, value in case.loss(case.batch(n=n)).metrics.items():
            require(isinstance(name, str) and name, f"{case.name} has a metric {name!r}; its name must be a string")
            require(
                isinstance(value, Tensor) and value.shape in ((), (n,)),
                f"{case.name} has metric {name!r} of {shown(value)} for {n} {case.row}s; it must be a tensor of "
                f"shape () or ({n},)",
            )
            require(not value.requires_grad, f"{case.name} has metric {name!r} with a gradient; detach it")
            require(finite([value]), f"{case.name} has metric {name!r} that is not finite for {n} {case.row}s")


LOSS_CHECKS = (
    check_one_loss_per_row,
    check_losses_are_float32,
    check_a_batch_of_one,
    check_losses_are_finite,
    check_extreme_values_are_handled,
    check_order_does_not_matter,
    check_the_same_input_gives_the_same_loss,
    check_the_batch_is_not_changed,
    check_metrics_are_tensors,
)
