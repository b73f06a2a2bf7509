"""What does not go together with an objective on the forward process, which noises clean images afresh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dagsdk.config.components import Specs
from dagsdk.specs import BuildContext

FILLED = ("OLD_OUTPUT", "REFERENCE")
"""The needs that fill a part of `Denoisings`."""


def misfits(spec: Any, options: Any, rollout: Any, train: Any, registry: Specs) -> Iterator[str]:
    """One line for each setting that would have no effect, or no meaning.

    spec, options: of the objective. rollout, train: sections of the run file; None where they hold mistakes.
    """
    if unfilled := sorted(need.name for need in spec.needs_of(options) if need.name not in FILLED):
        yield (
            f"objective.name: objective {spec.name!r} declares {', '.join(unfilled)}, which only transitions have; on "
            f"the forward process it may need {' and '.join(FILLED)}; choose another objective until its plugin is "
            "corrected"
        )
    if train:
        yield from _chosen_steps(spec, train)
    if rollout:
        if rollout.variance == "learned":
            yield (
                'rollout.variance: "learned" is trained through the density of transitions; objective '
                f'{spec.name!r} has none; set "posterior"'
            )
        if train:
            yield from _plan(spec, rollout, train, registry)


def _chosen_steps(spec: Any, train: Any) -> Iterator[str]:
    for key in ("transitions", "strata"):
        if chosen := getattr(train, key):
            yield (
                f"train.{key}: {chosen} chooses among the steps of trajectories; objective {spec.name!r} trains on "
                f"images noised afresh, which have no steps; set 0, and train.denoisings for how many"
            )


def _plan(spec: Any, rollout: Any, train: Any, registry: Specs) -> Iterator[str]:
    """What a rollout plans shows only when it is asked; building one is cheap."""
    steps = rollout.steps - (rollout.last_step == "drop")
    try:
        built = registry.get("rollouts", rollout.name).make(rollout.options, BuildContext())
        plans = [built.plan(epoch, train.epochs, steps) for epoch in (0, train.epochs - 1)]
    except Exception:  # the run itself will report it
        return
    if windows := [plan.window for plan in plans if plan.window != (0, steps)]:
        first, end = windows[0]
        yield (
            f"rollout.name: rollout {rollout.name!r} trains steps {first} to {end - 1} of {steps}; objective "
            f"{spec.name!r} trains on images noised afresh, which have no steps; choose a rollout that trains all "
            "steps, such as independent"
        )
    elif rollout.eta == 0 and (branches := max(plan.branches for plan in plans)) > 1:
        yield (
            f"rollout.eta: 0 is deterministic sampling, so the {branches} branches of rollout {rollout.name!r} would "
            "be the same image; set rollout.eta > 0, or choose a rollout without branches"
        )
