"""The contract of rollouts (`dagsdk.rollouts.protocol.Rollout`)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from attrs import define, evolve, frozen
from torch import Tensor

from dagsdk.hookcalls import described
from dagsdk.objectives.protocol import Signals
from dagsdk.rollouts.protocol import Rollout, RolloutPlan
from dagsdk.specs import RolloutSpec
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.trajectories import Sampled, changed, same, tensors, trajectories


@frozen(kw_only=True)
class Moment:
    """An epoch of a run: e counted from 0, E, and T."""

    epoch: int
    epochs: int
    steps: int

    def __str__(self) -> str:
        return f"epoch {self.epoch} of {self.epochs} with {self.steps} steps"


@define(eq=False, kw_only=True)
class RolloutCase(Case):
    """A rollout, and the runs that it is tried with.

    steps: numbers of steps T.
    epochs: lengths of runs; in the longest, every step should be trained.
    prompts: how many an epoch has.
    """

    spec: RolloutSpec[Any]
    steps: tuple[int, ...] = (2, 5, 20)
    epochs: tuple[int, ...] = (1, 4, 50)
    prompts: int = 4

    def moments(self) -> Iterator[Moment]:
        """The first, a middle and the last epoch of every run."""
        for steps in self.steps:
            for epochs in self.epochs:
                for epoch in sorted({0, epochs // 2, epochs - 1}):
                    yield Moment(epoch=epoch, epochs=epochs, steps=steps)

    def plan(self, rollout: Rollout, moment: Moment) -> RolloutPlan:
        plan: RolloutPlan = rollout.plan(moment.epoch, moment.epochs, moment.steps)
        require(
            isinstance(plan, RolloutPlan),
            f"{self.name}: plan returned {type(plan).__name__} for {moment}; it must return a `RolloutPlan`",
        )
        return plan

    def seen(self, moment: Moment, plan: RolloutPlan) -> Sampled:
        """What the plan samples."""
        return trajectories(
            self.prompts,
            plan.images_per_prompt,
            plan.branches,
            plan.branch_step,
            moment.steps,
            seed=moment.epoch,
            epoch=moment.epoch,
            epochs=moment.epochs,
            device=self.context.device,
        )

    def select(self, rollout: Rollout, seen: Sampled, signals: Signals | None = None) -> Tensor:
        """The selection; signals are advantages unless others are given."""
        selected: Tensor = rollout.select(seen, signals or advantages(seen))
        require(
            isinstance(selected, Tensor),
            f"{self.name}: select returned {type(selected).__name__}; it must return a bool tensor of shape (b,)",
        )
        return selected

    def tried(self) -> Iterator[tuple[Moment, Rollout, Sampled]]:
        """Every moment, the rollout, and what it sees there."""
        for moment in self.moments():
            yield moment, self.built, self.seen(moment, self.plan(self.built, moment))


def advantages(seen: Sampled) -> Signals:
    """Scores less their mean: what most objectives hand on, up to a factor."""
    return Signals(values=seen.scores - seen.scores.mean())


def check_it_is_a_rollout(case: RolloutCase) -> None:
    """It plans and selects."""
    require(
        isinstance(case.built, Rollout),
        f"{case.name}: build returned {type(case.built).__name__}, which is no rollout; it must have plan and select",
    )


def check_plans_are_possible(case: RolloutCase) -> None:
    """Every epoch has a plan that T steps allow."""
    for moment in case.moments():
        plan, steps = case.plan(case.built, moment), moment.steps
        told = f"{case.name} plans {plan} for {moment}"
        require(isinstance(plan.window, tuple) and len(plan.window) == 2, f"{told}; window must be (first, end)")
        first, end = plan.window
        for name, value in {
            "images_per_prompt": plan.images_per_prompt,
            "branches": plan.branches,
            "branch_step": plan.branch_step,
            "window[0]": first,
            "window[1]": end,
        }.items():
            require(type(value) is int, f"{told}; {name} is a {type(value).__name__} and must be an int")
        require(plan.images_per_prompt >= 1, f"{told}; images_per_prompt must be at least 1")
        require(plan.branches >= 1, f"{told}; branches must be at least 1")
        require(0 <= plan.branch_step < steps, f"{told}; branch_step must be in 0..{steps - 1}")
        require(0 <= first < end <= steps, f"{told}; the window must be at least one step of 0..{steps - 1}")


def check_every_step_is_trained(case: RolloutCase) -> None:
    """In a long run, every step is in the window of some epoch."""
    epochs = max(case.epochs)
    for steps in case.steps:
        trained: set[int] = set()
        for epoch in range(epochs):
            trained.update(range(*case.plan(case.built, Moment(epoch=epoch, epochs=epochs, steps=steps)).window))
        missing = sorted(set(range(steps)) - trained)
        require(
            not missing,
            f"{case.name} trains steps {missing} of {steps} in none of {epochs} epochs; the policy would stay as it "
            "was there: widen or move the window",
        )


def check_epochs_stand_alone(case: RolloutCase) -> None:
    """Plans and selections depend on the epoch, and on what a checkpoint holds; a resumed run depends on it."""
    epochs = max(case.epochs)
    for steps in case.steps:
        walked = case.build()
        for epoch in range(epochs):
            state: dict[str, object] = copy.deepcopy(getattr(walked, "state_dict", dict)())
            moment = Moment(epoch=epoch, epochs=epochs, steps=steps)
            plan = case.plan(walked, moment)
            selected = case.select(walked, case.seen(moment, plan))
            if epoch not in (epochs // 2, epochs - 1):
                continue
            fresh = case.build()
            if state:
                fresh.load_state_dict(state)
            straight = case.plan(fresh, moment)
            require(
                plan == straight,
                f"{case.name} plans {plan} for {moment} after the epochs before it, and {straight} without them; work "
                "the plan out from its arguments, or give the rollout a state_dict and a load_state_dict",
            )
            require(
                same(selected, case.select(fresh, case.seen(moment, plan))),
                f"{case.name} selects other trajectories in {moment} after the epochs before it than without them; "
                "select by what is given, or give the rollout a state_dict and a load_state_dict",
            )


def check_one_choice_a_trajectory(case: RolloutCase) -> None:
    """b trajectories get a selection of shape (b,), bool, on the device of the scores."""
    for moment, rollout, seen in case.tried():
        _require_choices(case, case.select(rollout, seen), seen, f"in {moment}")


def _require_choices(case: RolloutCase, selected: Tensor, seen: Sampled, when: str) -> None:
    scores = seen.scores
    require(
        selected.shape == scores.shape and selected.dtype == torch.bool and selected.device == scores.device,
        f"{case.name} returned a selection of shape {tuple(selected.shape)}, {selected.dtype}, on {selected.device} "
        f"{when}; it must be {tuple(scores.shape)}, torch.bool, on {scores.device}",
    )


def check_something_is_selected(case: RolloutCase) -> None:
    """Of trajectories with different scores, at least one is selected."""
    for moment, rollout, seen in case.tried():
        require(
            bool(case.select(rollout, seen).any()),
            f"{case.name} selected none of {len(seen)} trajectories with different scores in {moment}; the epoch "
            "would teach nothing",
        )


def check_equal_scores_are_survived(case: RolloutCase) -> None:
    """Trajectories that all have the same score get a selection, too; it may be empty."""
    for moment, rollout, seen in case.tried():
        equal = evolve(seen, scores=torch.full_like(seen.scores, 0.3))
        signals = Signals(values=torch.zeros_like(seen.scores))
        try:
            selected = case.select(rollout, equal, signals)
        except Exception as error:
            raise ContractError(
                f"{case.name}: select raised {described(error)} in {moment} where all scores are equal; select all "
                "of them, or none"
            ) from error
        require(
            len(selected) == len(seen),
            f"{case.name} returned shape {tuple(selected.shape)} for {len(seen)} trajectories with equal scores in "
            f"{moment}; there must be one choice each",
        )


def check_the_same_input_has_the_same_selection(case: RolloutCase) -> None:
    """Selecting twice gives the same."""
    for moment, rollout, seen in case.tried():
        require(
            same(case.select(rollout, seen.take(torch.arange(len(seen)))), case.select(rollout, seen)),
            f"{case.name} selected other trajectories the second time in {moment}; draw from a generator made anew "
            "in each call, and keep no state",
        )


def check_order_of_prompts_does_not_matter(case: RolloutCase) -> None:
    """Prompts in another order have the same trajectories selected."""
    for moment, rollout, seen in case.tried():
        # Whole groups are reversed, and numbered as the sampler would number them.
        rows = torch.arange(len(seen)).reshape(case.prompts, -1).flip(0).flatten()
        turned = evolve(seen.take(rows), group=seen.group, branch=seen.branch)
        selected, others = case.select(rollout, seen), case.select(rollout, turned)
        require(
            same(selected[rows.to(selected.device)], others),
            f"{case.name} selected other trajectories in {moment} when the prompts came in reverse; select by score "
            "and group, not by place",
        )


def check_trajectories_are_left_as_they_were(case: RolloutCase) -> None:
    """Selecting changes neither the trajectories nor the signals."""
    for _, rollout, seen in case.tried():
        signals = advantages(seen)
        before, given = tensors(seen), tensors(signals)
        case.select(rollout, seen, signals)
        spoilt = changed(before, seen) + changed(given, signals)
        require(not spoilt, f"{case.name}: select changed {', '.join(spoilt)}; use no operation that ends in `_`")


ROLLOUT_CHECKS = (
    *COMPONENT_CHECKS,
    check_it_is_a_rollout,
    check_plans_are_possible,
    check_every_step_is_trained,
    check_epochs_stand_alone,
    check_one_choice_a_trajectory,
    check_something_is_selected,
    check_equal_scores_are_survived,
    check_the_same_input_has_the_same_selection,
    check_order_of_prompts_does_not_matter,
    check_trajectories_are_left_as_they_were,
)
