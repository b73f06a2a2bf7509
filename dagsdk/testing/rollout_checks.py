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
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rollouts.protocol import Rollout, RolloutPlan
from dagsdk.specs import RolloutSpec
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.records import changed, same, tensors
from dagsdk.testing.trajectories import equally_rewarded, trajectories


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
    """A rollout, and the runs that it is tested with.

    steps: numbers of steps T.
    epochs: lengths of runs; in the longest, every step should be trained.
    prompts: of an epoch.
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

    def trajectories(self, moment: Moment, plan: RolloutPlan) -> Trajectories:
        """What the plan samples; without parts, since a rollout has no needs."""
        return trajectories(
            self.prompts,
            plan.images_per_prompt,
            plan.branches,
            plan.branch_step,
            moment.steps,
            seed=moment.epoch,
            needs=(),
            epoch=moment.epoch,
            epochs=moment.epochs,
            device=self.context.device,
        )

    def select(self, rollout: Rollout, sampled: Trajectories, signals: Signals | None = None) -> Tensor:
        """The selection; signals are advantages unless others are given."""
        selected: Tensor = rollout.select(sampled, signals or advantages(sampled))
        require(
            isinstance(selected, Tensor),
            f"{self.name}: select returned {type(selected).__name__}; it must return a bool tensor of shape (b,)",
        )
        return selected

    def tested(self) -> Iterator[tuple[Moment, Rollout, Trajectories]]:
        """Every moment, the rollout, and the trajectories that it selects from there."""
        for moment in self.moments():
            yield moment, self.built, self.trajectories(moment, self.plan(self.built, moment))


def advantages(sampled: Trajectories) -> Signals:
    """Rewards less their mean: the signals of most objectives, up to a factor."""
    return Signals(values=sampled.rewards - sampled.rewards.mean())


def check_it_is_a_rollout(case: RolloutCase) -> None:
    """`build` returns a rollout."""
    require(
        isinstance(case.built, Rollout),
        f"{case.name}: build returned {type(case.built).__name__}, which is no rollout; it must have plan and select",
    )


def check_plans_are_valid(case: RolloutCase) -> None:
    """Every epoch has a plan that is possible with T steps."""
    for moment in case.moments():
        plan, steps = case.plan(case.built, moment), moment.steps
        which = f"{case.name} plans {plan} for {moment}"
        require(isinstance(plan.window, tuple) and len(plan.window) == 2, f"{which}; window must be (first, end)")
        first, end = plan.window
        for name, value in {
            "images_per_prompt": plan.images_per_prompt,
            "branches": plan.branches,
            "branch_step": plan.branch_step,
            "window[0]": first,
            "window[1]": end,
        }.items():
            require(type(value) is int, f"{which}; {name} is a {type(value).__name__} and must be an int")
        require(plan.images_per_prompt >= 1, f"{which}; images_per_prompt must be at least 1")
        require(plan.branches >= 1, f"{which}; branches must be at least 1")
        require(0 <= plan.branch_step < steps, f"{which}; branch_step must be in 0..{steps - 1}")
        require(0 <= first < end <= steps, f"{which}; the window must be at least one step of 0..{steps - 1}")


def check_every_step_is_trained(case: RolloutCase) -> None:
    """In a long run, every step is in the window of at least one epoch."""
    epochs = max(case.epochs)
    for steps in case.steps:
        trained: set[int] = set()
        for epoch in range(epochs):
            trained.update(range(*case.plan(case.built, Moment(epoch=epoch, epochs=epochs, steps=steps)).window))
        missing = sorted(set(range(steps)) - trained)
        require(
            not missing,
            f"{case.name} trains steps {missing} of {steps} in none of {epochs} epochs; the policy would never change "
            "there: widen or move the window",
        )


def check_resuming_gives_the_same(case: RolloutCase) -> None:
    """Plans and selections depend on the epoch and on its state only, so that a run can be resumed."""
    epochs = max(case.epochs)
    for steps in case.steps:
        rollout = case.build()
        for epoch in range(epochs):
            state: dict[str, object] = copy.deepcopy(getattr(rollout, "state_dict", dict)())
            moment = Moment(epoch=epoch, epochs=epochs, steps=steps)
            plan = case.plan(rollout, moment)
            selected = case.select(rollout, case.trajectories(moment, plan))
            if epoch not in (epochs // 2, epochs - 1):
                continue
            resumed = case.build()
            if state:
                resumed.load_state_dict(state)
            planned = case.plan(resumed, moment)
            require(
                plan == planned,
                f"{case.name} plans {plan} for {moment} after the epochs before it, but {planned} when resumed there; "
                "work the plan out from its arguments, or give the rollout a state_dict and a load_state_dict",
            )
            require(
                same(selected, case.select(resumed, case.trajectories(moment, plan))),
                f"{case.name} selects other trajectories in {moment} after the epochs before it than when a run is "
                "resumed there; select by what is given, or give the rollout a state_dict and a load_state_dict",
            )


def check_one_choice_per_trajectory(case: RolloutCase) -> None:
    """b trajectories get a selection of shape (b,), bool, on the device of the rewards."""
    for moment, rollout, sampled in case.tested():
        _require_choices(case, case.select(rollout, sampled), sampled, f"in {moment}")


def _require_choices(case: RolloutCase, selected: Tensor, sampled: Trajectories, when: str) -> None:
    rewards = sampled.rewards
    require(
        selected.shape == rewards.shape and selected.dtype == torch.bool and selected.device == rewards.device,
        f"{case.name} returned a selection of shape {tuple(selected.shape)}, {selected.dtype}, on {selected.device} "
        f"{when}; it must be {tuple(rewards.shape)}, torch.bool, on {rewards.device}",
    )


def check_something_is_selected(case: RolloutCase) -> None:
    """Of trajectories with different rewards, at least one is selected."""
    for moment, rollout, sampled in case.tested():
        require(
            bool(case.select(rollout, sampled).any()),
            f"{case.name} selected none of {len(sampled)} trajectories with different rewards in {moment}; the epoch "
            "would train nothing: select some in every epoch",
        )


def check_equal_rewards_are_handled(case: RolloutCase) -> None:
    """Trajectories that all have the same reward get a selection as well; it may be empty."""
    for moment, rollout, sampled in case.tested():
        equal = equally_rewarded(sampled, 0.3)
        signals = Signals(values=torch.zeros_like(sampled.rewards))
        try:
            selected = case.select(rollout, equal, signals)
        except Exception as error:
            raise ContractError(
                f"{case.name}: select raised {described(error)} in {moment} where all rewards are equal; select all "
                "of them, or none"
            ) from error
        require(
            len(selected) == len(sampled),
            f"{case.name} returned shape {tuple(selected.shape)} for {len(sampled)} trajectories with equal rewards in "
            f"{moment}; there must be one choice each",
        )


def check_the_same_input_gives_the_same_selection(case: RolloutCase) -> None:
    """The same trajectories twice give the same selection."""
    for moment, rollout, sampled in case.tested():
        require(
            same(case.select(rollout, sampled.part(torch.arange(len(sampled)))), case.select(rollout, sampled)),
            f"{case.name} selected other trajectories the second time in {moment}; draw from a generator made anew "
            "in each call, and keep no state",
        )


def check_order_of_prompts_does_not_matter(case: RolloutCase) -> None:
    """The same trajectories are selected where the prompts come in another order."""
    for moment, rollout, sampled in case.tested():
        # Whole groups are reversed, and numbered as the sampler would number them.
        rows = torch.arange(len(sampled)).reshape(case.prompts, -1).flip(0).flatten()
        turned = evolve(sampled.part(rows), group=sampled.group, branch=sampled.branch)
        selected, others = case.select(rollout, sampled), case.select(rollout, turned)
        require(
            same(selected[rows.to(selected.device)], others),
            f"{case.name} selected other trajectories in {moment} when the prompts came in reverse; select by reward "
            "and group, not by place",
        )


def check_trajectories_are_not_changed(case: RolloutCase) -> None:
    """Selecting changes neither the trajectories nor the signals."""
    for _, rollout, sampled in case.tested():
        signals = advantages(sampled)
        before, given = tensors(sampled), tensors(signals)
        case.select(rollout, sampled, signals)
        found = changed(before, sampled) + changed(given, signals)
        require(not found, f"{case.name}: select changed {', '.join(found)}; use no operation that ends in `_`")


ROLLOUT_CHECKS = (
    *COMPONENT_CHECKS,
    check_it_is_a_rollout,
    check_plans_are_valid,
    check_every_step_is_trained,
    check_resuming_gives_the_same,
    check_one_choice_per_trajectory,
    check_something_is_selected,
    check_equal_rewards_are_handled,
    check_the_same_input_gives_the_same_selection,
    check_order_of_prompts_does_not_matter,
    check_trajectories_are_not_changed,
)
