"""Each rule of the rollout contract is caught by its own check, and by no other, in one that breaks just it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import attrs
import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk import builtin
from dagsdk.objectives.protocol import Signals
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rollouts.protocol import RolloutPlan
from dagsdk.specs import NoOptions, RolloutSpec
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.rollout_checks import ROLLOUT_CHECKS, RolloutCase


@attrs.frozen
class Options:
    """share: share of the trajectories that are kept."""

    share: float = 1.0


class Better:
    """Branches ever earlier, trains from there on, and keeps the best and the worst of every group."""

    def plan(self, epoch: int, epochs: int, num_steps: int) -> RolloutPlan:
        start = round((num_steps - 1) * (1 - epoch / max(1, epochs - 1))) if epochs > 1 else 0
        return RolloutPlan(images_per_prompt=2, branches=3, branch_step=start, window=(start, num_steps))

    def select(self, trajectories: Trajectories, signals: Signals) -> Tensor:
        kept = torch.zeros_like(trajectories.rewards, dtype=torch.bool)
        for number in trajectories.group.unique():
            rewards = torch.where(trajectories.group == number, trajectories.rewards, torch.nan)
            kept |= (rewards == rewards[~rewards.isnan()].max()) | (rewards == rewards[~rewards.isnan()].min())
        return kept


def spec(rollout: Any = Better, **changes: Any) -> RolloutSpec[Any]:
    fields = {
        "name": "tried",
        "summary": "Tried",
        "build": lambda options, context: rollout(),
        "options": Options,
    }
    return RolloutSpec(**{**fields, **changes})


def failing(tried: RolloutSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(ROLLOUT_CHECKS, RolloutCase(spec=tried, **case), {}, strict=True)
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


def planning(change: Any) -> RolloutSpec[Any]:
    """A rollout whose plan is `change(plan, epoch, num_steps)` of a sound one's."""

    class Changed(Better):
        def plan(self, epoch: int, epochs: int, num_steps: int) -> RolloutPlan:
            return change(super().plan(epoch, epochs, num_steps), epoch, num_steps)

    return spec(Changed)


def selecting(change: Any) -> RolloutSpec[Any]:
    """A rollout whose selection is `change(selected, trajectories, signals)` of a sound one's."""

    class Changed(Better):
        def select(self, trajectories: Trajectories, signals: Signals) -> Tensor:
            return change(super().select(trajectories, signals), trajectories, signals)

    return spec(Changed)


class Planless:
    select = Better.select


class Walking(Better):
    """Trains one step more with every epoch that it plans."""

    planned = 0

    def plan(self, epoch: int, epochs: int, num_steps: int) -> RolloutPlan:
        self.planned += 1
        return RolloutPlan(images_per_prompt=2, window=(0, min(num_steps, self.planned)))


class Remembering(Better):
    """Keeps what is better than the best of the epoch before, or all."""

    def __init__(self) -> None:
        self.best: dict[int, float] = {}

    def select(self, trajectories: Trajectories, signals: Signals) -> Tensor:
        self.best[trajectories.epoch] = float(trajectories.rewards.max())
        better = trajectories.rewards > 0.5 * self.best.get(trajectories.epoch - 1, -torch.inf)
        return better if better.any() else torch.ones_like(better)


def spoils_rewards(selected: Tensor, trajectories: Trajectories, signals: Signals) -> Tensor:
    trajectories.rewards.clamp_(-0.5, 0.5)
    return selected


def spoils_signals(selected: Tensor, trajectories: Trajectories, signals: Signals) -> Tensor:
    signals.values.zero_()  # type: ignore[union-attr]
    return selected


def first_of_the_good(selected: Tensor, trajectories: Trajectories, signals: Signals) -> Tensor:
    assert signals.values is not None
    if signals.values.count_nonzero() == 0:
        raise IndexError("nothing is good")
    return selected


def random(selected: Tensor, trajectories: Trajectories, signals: Signals) -> Tensor:
    kept = selected & (torch.rand(len(selected)) < 0.5)
    return kept if kept.any() else selected


@attrs.define
class Changeable:
    """share: share of the trajectories that are kept."""

    share: float = 1.0


@attrs.frozen
class Undocumented:
    """The option is not mentioned."""

    share: float = 1.0


@attrs.frozen
class Untyped:
    """share: share of the trajectories that are kept."""

    share: Any = 1.0


@attrs.frozen
class Doubling:
    """share: share of the trajectories that are kept."""

    share: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


def downloads(options, context):
    with contextlib.suppress(OSError):
        socket.create_connection(("localhost", 9), timeout=1)  # where nobody answers
    return Better()


BROKEN: dict[str, tuple[RolloutSpec[Any], str]] = {
    "options_are_frozen": (spec(options=Changeable), "decorate the class with `@attrs.frozen`"),
    "options_have_types": (spec(options=Untyped), "options share of Untyped accept any value"),
    "options_survive_a_run_file": (spec(options=Doubling), "read back"),
    "options_are_documented": (spec(options=Undocumented), "options share have no line"),
    "works_offline": (spec(build=downloads), "localhost"),
    "it_is_a_rollout": (spec(Planless), "Planless, which is no rollout"),
    "plans_are_valid": (
        planning(lambda plan, epoch, steps: evolve(plan, window=list(plan.window))),
        "window must be (first, end)",
    ),
    "every_step_is_trained": (
        planning(lambda plan, epoch, steps: evolve(plan, window=(max(1, plan.window[0]), steps))),
        "trains steps [0] of 2 in none of 50 epochs",
    ),
    "resuming_gives_the_same": (spec(Walking), "work the plan out from its arguments"),
    "one_choice_per_trajectory": (selecting(lambda selected, t, s: selected.float()), "torch.float32"),
    "something_is_selected": (selecting(lambda selected, t, s: torch.zeros_like(selected)), "selected none of 24"),
    "equal_rewards_are_handled": (selecting(first_of_the_good), "select raised IndexError: nothing is good"),
    "the_same_input_gives_the_same_selection": (selecting(random), "draw from a generator made anew"),
    "order_of_prompts_does_not_matter": (
        selecting(lambda selected, t, s: selected & (t.group < 2)),
        "when the prompts came in reverse",
    ),
    "trajectories_are_not_changed": (selecting(spoils_rewards), "select changed rewards"),
}
NEED_A_PLAN = {name_of(check) for check in ROLLOUT_CHECKS[6:]}
ALSO = {
    # Without a plan there is nothing to sample or select from.
    "it_is_a_rollout": NEED_A_PLAN,
    # A random selection also differs in another order and after a resume.
    "the_same_input_gives_the_same_selection": {"order_of_prompts_does_not_matter", "resuming_gives_the_same"},
}


def test_a_sound_rollout_passes() -> None:
    assert not failing(spec())
    assert not failing(spec(options=NoOptions), steps=(1, 7), prompts=1)


[INDEPENDENT] = builtin.dagsdk_rollouts()


@pytest.mark.parametrize("images_per_prompt", [1, 4])
def test_the_core_s_own_passes(images_per_prompt: int) -> None:
    assert not failing(INDEPENDENT, options={"images_per_prompt": images_per_prompt})


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rollout_fails_the_check_of_its_rule_only(name: str) -> None:
    tried, message = BROKEN[name]
    found = failing(tried)
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


FURTHER: list[tuple[str, RolloutSpec[Any], str]] = [
    ("plans_are_valid", planning(lambda plan, e, n: {"window": plan.window}), "must return a `RolloutPlan`"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, window=(0.0, n))), "window[0] is a float"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, window=(0, n + 1))), "of 0..1"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, window=(1, 1))), "at least one step"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, branch_step=n)), "branch_step must be in 0..1"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, branches=0)), "branches must be at least 1"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, branches=True)), "branches is a bool"),
    ("plans_are_valid", planning(lambda plan, e, n: evolve(plan, images_per_prompt=0)), "at least 1"),
    ("resuming_gives_the_same", spec(Remembering), "select by what is given"),
    ("one_choice_per_trajectory", selecting(lambda selected, t, s: selected.to("meta")), "on meta"),
    ("one_choice_per_trajectory", selecting(lambda selected, t, s: selected.nonzero()), "torch.int64"),
    ("one_choice_per_trajectory", selecting(lambda selected, t, s: selected.tolist()), "select returned list"),
    ("equal_rewards_are_handled", selecting(lambda selected, t, s: selected[s.values != 0]), "one choice each"),
    ("trajectories_are_not_changed", selecting(spoils_signals), "select changed values"),
]


@pytest.mark.parametrize(("name", "tried", "message"), FURTHER, ids=[f"{name}: {m}" for name, _, m in FURTHER])
def test_further_ways_to_break_a_rule(name: str, tried: RolloutSpec[Any], message: str) -> None:
    assert message in failing(tried)[name]


def test_every_check_is_tested() -> None:
    assert {name_of(check) for check in ROLLOUT_CHECKS} == set(BROKEN)
