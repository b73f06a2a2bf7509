"""The contract of objectives (`dagsdk.objectives.protocol.Objective`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Objective, Transitions
from dagsdk.testing.check import NotApplicable, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.loss_checks import LOSS_CHECKS
from dagsdk.testing.objective_case import ObjectiveCase, gradients
from dagsdk.testing.records import PARTS, TRAINED, filled_by, same, undeclared
from dagsdk.testing.signal_checks import SIGNAL_CHECKS
from dagsdk.testing.trajectories import EVERYTHING

__all__ = ["OBJECTIVE_CHECKS", "ObjectiveCase"]


def check_it_is_an_objective(case: ObjectiveCase) -> None:
    """`build` returns an objective."""
    require(
        isinstance(case.built, Objective),
        f"{case.name}: build returned {type(case.built).__name__}, which is no objective; it must have prepare, loss, "
        "state_dict and load_state_dict",
    )


# --- what it needs ---


def check_needs_are_possible(case: ObjectiveCase) -> None:
    """Its record needs members of `Needs` that its batches can have, and those that they depend on."""
    needs = case.needs
    require(
        isinstance(needs, frozenset) and all(isinstance(need, Needs) for need in needs),
        f"{case.name} has needs {needs!r}; they must be a frozenset of `dagsdk.Needs`",
    )
    if case.kind is not Transitions:
        others = _names(needs - PARTS[case.kind].keys())
        require(
            not others,
            f"{case.name} needs {others}, which the forward process does not have; it has "
            f"{_names(PARTS[case.kind])}: remove the others from `needs`, or train on transitions",
        )
    for need in {Needs.FORWARD_LOOKING, Needs.STATE_FLOW_PATH} & needs:
        require(
            Needs.STATE_FLOW in needs,
            f"{case.name} needs {need.name} without STATE_FLOW, which it depends on; add STATE_FLOW to `needs`",
        )


def _names(needs: Iterable[Needs]) -> str:
    return ", ".join(sorted(need.name for need in needs))


def check_only_what_it_needs_is_read(case: ObjectiveCase) -> None:
    """Signals and losses are the same where the parts that it does not need are missing."""
    hint = "add the need of what it reads to `needs`, or do not read it"
    few, everything = (_signals(case, needs) for needs in (case.needs, EVERYTHING))
    require(
        same(few, everything),
        f"{case.name} prepares other signals where the parts of trajectories that it does not need are missing; {hint}",
    )
    losses, with_everything = (case.loss(case.batch(needs)).values for needs in (case.needs, EVERYTHING))
    missing = ", ".join(name for need, (name, _) in PARTS[case.kind].items() if need not in case.needs)
    require(
        same(losses, with_everything),
        f"{case.name} gives other losses where {missing} are missing, which it does not need; {hint}",
    )


def _signals(case: ObjectiveCase, needs: Collection[Needs]) -> list[object]:
    """What a new objective prepares for trajectories with the parts that these needs fill."""
    signals = case.prepare(case.build(), case.trajectories(needs=needs))
    return [signals.beta, signals.values, dict(signals.metrics)]


# --- what it trains ---


def _reached(case: ObjectiveCase) -> set[str]:
    """Names of the trained tensors that a gradient reaches, over a few batches, where it is not zero."""
    found: set[str] = set()
    for seed in range(3):
        batch = case.batch(seed=seed)
        for name, gradient in gradients(case.loss(batch), batch).items():
            if bool((gradient.isfinite() & (gradient != 0)).any()):
                found.add(name)
    return found


def check_something_is_trained(case: ObjectiveCase) -> None:
    """Losses have a gradient that is not zero in something that is trained and that it needs."""
    trained = [name for name in TRAINED[case.kind] if name not in undeclared(case.kind, case.needs)]
    require(
        set(trained) & _reached(case),
        f"{case.name} has losses without a gradient, or with one that is zero, in {', '.join(trained)}; nothing "
        "would be learnt: do not detach or clamp away all of them",
    )


def check_auxiliary_networks_are_trained(case: ObjectiveCase) -> None:
    """Where it needs a state flow or a flow gradient, the gradient reaches that network."""
    networks = PARTS[case.kind].keys() & {Needs.STATE_FLOW, Needs.FLOW_GRADIENT}
    needed = [need for need in Needs if need in case.needs & networks]
    if not needed:
        raise NotApplicable("it needs no state flow and no flow gradient")
    reached = _reached(case)
    for need in needed:
        names = filled_by(case.kind, need)
        require(
            reached.intersection(names),
            f"{case.name} needs {need.name}, but its losses have no gradient in {' or '.join(names)}; train the "
            "network, or do not need it",
        )


def check_nothing_undeclared_is_trained(case: ObjectiveCase) -> None:
    """No gradient reaches what it does not need."""
    others = undeclared(case.kind, case.needs)
    batch = case.batch(leaves=(*TRAINED[case.kind], *others))
    reached = sorted(others & gradients(case.loss(batch), batch).keys())
    require(
        not reached,
        f"{case.name} has a gradient in {', '.join(reached)}, which it does not need; add its need to `needs`",
    )


OBJECTIVE_CHECKS = (
    *COMPONENT_CHECKS,
    check_it_is_an_objective,
    check_needs_are_possible,
    check_only_what_it_needs_is_read,
    *LOSS_CHECKS,
    check_something_is_trained,
    check_auxiliary_networks_are_trained,
    check_nothing_undeclared_is_trained,
    *SIGNAL_CHECKS,
)
