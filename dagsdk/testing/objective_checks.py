"""The contract of objectives (`dagsdk.objectives.protocol.Objective`)."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.objectives.protocol import Needs, Objective, Transitions
from dagsdk.testing.check import NotApplicable, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.objective_case import ObjectiveCase, gradients, shown
from dagsdk.testing.signal_checks import SIGNAL_CHECKS
from dagsdk.testing.trajectories import EVERYTHING, FAR, FILLED, TRAINED, changed, finite, same, tensors, undeclared

__all__ = ["OBJECTIVE_CHECKS", "ObjectiveCase"]

# --- what it asks for ---


def check_needs_are_declared(case: ObjectiveCase) -> None:
    """It is an objective, and needs no more than its record says of these options."""
    require(
        isinstance(case.built, Objective),
        f"{case.name}: build returned {type(case.built).__name__}, which is no objective; it must have needs, "
        "prepare, loss, state_dict and load_state_dict",
    )
    needs, unneeded = case.built.needs, case.spec.unneeded(case.structured)
    for name, found in (("needs", needs), ("unneeded", unneeded)):
        require(
            isinstance(found, frozenset) and all(isinstance(need, Needs) for need in found),
            f"{case.name} has {name} {found!r}; they must be a frozenset of `Needs`",
        )
    more = _names(needs - case.spec.needs)
    require(not more, f"{case.name} needs {more}, which its ObjectiveSpec does not; declare it in `needs`")
    more = _names(needs & unneeded)
    require(
        not more,
        f"{case.name} needs {more}, which its ObjectiveSpec says it does without; `unneeded` must give what the built "
        "objective leaves out with the same options",
    )
    for need in {Needs.FORWARD_LOOKING, Needs.FLOW_PATH} & needs:
        require(
            Needs.FLOW in needs,
            f"{case.name} needs {need.name} without FLOW; there is no flow to add to or to look at: ask for both",
        )


def _names(needs: frozenset[Needs]) -> str:
    return ", ".join(sorted(need.name for need in needs))


def check_only_what_it_needs_is_read(case: ObjectiveCase) -> None:
    """Losses are the same where everything that it does not need is None."""
    needs = case.prepared[0].needs
    few, all_of_them = (case.loss(case.batch(asked)).values for asked in (needs, EVERYTHING))
    require(
        same(few, all_of_them),
        f"{case.name} gives other losses where {', '.join(sorted(undeclared(needs)))} are None, which it does not "
        "need; add what fills them to `needs`, or do not look at them",
    )


# --- its losses ---


def check_one_loss_a_transition(case: ObjectiveCase) -> None:
    """n transitions get losses of shape (n,)."""
    shape, expected = tuple(case.loss(case.batch()).values.shape), (case.transitions,)
    require(
        shape == expected,
        f"{case.name} returned losses of shape {shape} for {expected[0]} transitions; it must be {expected}: the "
        "engine takes the mean",
    )


def check_losses_are_float32(case: ObjectiveCase) -> None:
    """Losses are float32."""
    dtype = case.loss(case.batch()).values.dtype
    require(
        dtype == torch.float32, f"{case.name} returned losses of {dtype}; they must be torch.float32: use `.float()`"
    )


def check_a_batch_of_one(case: ObjectiveCase) -> None:
    """One transition alone gets one finite loss."""
    values = case.loss(case.batch(n=1)).values
    require(
        len(values.shape) > 0 and len(values) == 1,
        f"{case.name} returned shape {tuple(values.shape)} for one transition; it must be (1,): do not squeeze",
    )
    require(finite([values]), f"{case.name} returned {values.tolist()} for one transition alone; it must be finite")


def check_losses_are_finite(case: ObjectiveCase) -> None:
    """Losses and gradients are finite, also in the first update, before anything moved."""
    for moved in (0.01, 0.0):
        _require_finite(case, case.batch(moved=moved), f"policy that moved by {moved:g} since sampling")


def check_extremes_are_survived(case: ObjectiveCase) -> None:
    """Losses and gradients are finite where log-densities and flows are huge and the policy moved far."""
    objective, seen = case.build(), case.seen(large=True)
    signals = case.prepare(objective, seen)
    batch = case.batch(of=seen, signals=signals, moved=FAR, large=True)
    told = f"log-densities and flows of up to 1e4 and a policy that moved by up to {FAR:g} since sampling"
    _require_finite(case, batch, told, objective)


def _require_finite(case: ObjectiveCase, batch: Transitions, given: str, objective: Objective | None = None) -> None:
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
    """Transitions in another order have the same losses in that order."""
    batch = case.batch()
    turned = Transitions(
        **{name: tensor.flip(0).requires_grad_(name in TRAINED) for name, tensor in tensors(batch).items()}
    )
    values, others = case.loss(batch).values.detach(), case.loss(turned).values.detach().flip(0)
    slack = case.tolerance * (1 + float(values.abs().max()))
    require(
        torch.allclose(values, others, rtol=0, atol=slack, equal_nan=True),
        f"{case.name} gives a transition another loss in another place of the batch (by up to "
        f"{float((values - others).abs().max()):g}); a batch is any mix of samples and steps in any order",
    )


def check_the_same_input_has_the_same_loss(case: ObjectiveCase) -> None:
    """The same transitions twice give the same bits."""
    first, second = (case.loss(case.batch()).values for _ in range(2))
    require(
        same(first, second),
        f"{case.name} gives the same transitions another loss the second time; draw nothing at random, and let only "
        "`prepare` change what it remembers",
    )


def check_transitions_are_left_as_they_were(case: ObjectiveCase) -> None:
    """A loss does not change the transitions that it is given."""
    batch = case.batch()
    before = tensors(batch)
    case.loss(batch)
    spoilt = changed(before, batch)
    require(not spoilt, f"{case.name}: loss changed {', '.join(spoilt)}; use no operation that ends in `_`")


def check_metrics_are_figures(case: ObjectiveCase) -> None:
    """Metrics are finite tensors of shape () or (n,), without gradient, each with a name."""
    for n in (case.transitions, 1):
        for name, value in case.loss(case.batch(n=n)).metrics.items():
            require(isinstance(name, str) and name, f"{case.name} has a metric {name!r}; its name must be a text")
            require(
                isinstance(value, Tensor) and value.shape in ((), (n,)),
                f"{case.name} has metric {name!r} of {shown(value)} for {n} transitions; it must be a tensor of "
                f"shape () or ({n},)",
            )
            require(not value.requires_grad, f"{case.name} has metric {name!r} with a gradient; detach it")
            require(finite([value]), f"{case.name} has metric {name!r} that is not finite for {n} transitions")


# --- what it trains ---


def _reached(case: ObjectiveCase) -> dict[str, Tensor]:
    """The gradient in each field that can be trained, over a few batches, where it is not zero."""
    found: dict[str, Tensor] = {}
    for seed in range(3):
        batch = case.batch(seed=seed)
        for name, gradient in gradients(case.loss(batch), batch).items():
            if bool((gradient.isfinite() & (gradient != 0)).any()):
                found[name] = gradient
    return found


def check_something_is_trained(case: ObjectiveCase) -> None:
    """Losses have a gradient that is not zero in something that is trained and that it needs."""
    trained = [name for name in TRAINED if name not in undeclared(case.prepared[0].needs)]
    require(
        set(trained) & set(_reached(case)),
        f"{case.name} has losses without a gradient, or with one that is zero, in {', '.join(trained)}; nothing "
        "would be learnt: do not detach or clamp away all of them",
    )


def check_networks_beside_the_policy_are_trained(case: ObjectiveCase) -> None:
    """Where a flow or a residual network is needed, the gradient reaches it."""
    needed = [need for need in (Needs.FLOW, Needs.RESIDUAL) if need in case.prepared[0].needs]
    if not needed:
        raise NotApplicable("it needs no flow and no residual")
    reached = set(_reached(case))
    for need in needed:
        here, there = FILLED[need]
        require(
            {here, there} & reached,
            f"{case.name} needs {need.name}, and its losses have no gradient in {here} or {there}; train the network, "
            "or do not ask for it",
        )


def check_nothing_undeclared_is_trained(case: ObjectiveCase) -> None:
    """No gradient reaches what it does not need."""
    others = undeclared(case.prepared[0].needs)
    batch = case.batch(leaves=(*TRAINED, *others))
    reached = sorted(others & set(gradients(case.loss(batch), batch)))
    require(
        not reached,
        f"{case.name} has a gradient in {', '.join(reached)}, which it does not need; add what fills it to `needs`",
    )


OBJECTIVE_CHECKS = (
    *COMPONENT_CHECKS,
    check_needs_are_declared,
    check_only_what_it_needs_is_read,
    check_one_loss_a_transition,
    check_losses_are_float32,
    check_a_batch_of_one,
    check_losses_are_finite,
    check_extremes_are_survived,
    check_order_does_not_matter,
    check_the_same_input_has_the_same_loss,
    check_transitions_are_left_as_they_were,
    check_metrics_are_figures,
    check_something_is_trained,
    check_networks_beside_the_policy_are_trained,
    check_nothing_undeclared_is_trained,
    *SIGNAL_CHECKS,
)
