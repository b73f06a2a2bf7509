"""Each rule for objectives on the forward process is caught by its own check only, in one that breaks just it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Denoisings, Loss, Signals
from dagsdk.objectives.toolbox import Stateless, group_means
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.specs import ObjectiveSpec
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.objective_checks import OBJECTIVE_CHECKS, ObjectiveCase

pytestmark = pytest.mark.filterwarnings("ignore:std")  # of one value, on purpose


@attrs.frozen
class Options:
    """beta: how strongly high rewards are preferred."""

    beta: float = 2.0


def error(output: Tensor, batch: Denoisings) -> Tensor:
    """Mean squared error of the network's output: shape (n,)."""
    return (output - batch.target).square().flatten(1).mean(1)


class Weighted(Stateless):
    """Reward-weighted likelihood: w ‖f - y‖² with w = exp(β r) over its mean."""

    needs = frozenset[Needs]()  # for `spec` below; the engine reads those of the record
    compares = False

    def __init__(self, beta: float = 2.0) -> None:
        self.beta = beta

    def prepare(self, trajectories: Trajectories) -> Signals:
        return Signals(beta=self.beta, values=(self.beta * trajectories.rewards).softmax(0) * len(trajectories))

    def loss(self, batch: Denoisings) -> Loss:
        errors = error(batch.output, batch)
        return Loss(values=batch.signal * errors, metrics={"error": errors.detach(), "weight": batch.signal.mean()})


class Tilted(Weighted):
    """Tilted regression: w ‖d‖² - 2 (w - 1) ⟨d, e⟩ with d = f - f_ref and e = y - f_ref."""

    needs = frozenset({Needs.REFERENCE})

    def loss(self, batch: Denoisings) -> Loss:
        away, error = batch.output - batch.output_reference, batch.target - batch.output_reference
        weight = batch.signal
        inner = (away * error).flatten(1).mean(1)
        return Loss(values=weight * away.square().flatten(1).mean(1) - 2 * (weight - 1) * inner)


class Matched(Weighted):
    """Advantage weighted matching: -A ρ, clipped, where the errors stand for the densities."""

    needs = frozenset({Needs.OLD_OUTPUT})
    compares = True

    def prepare(self, trajectories: Trajectories) -> Signals:
        centred = trajectories.rewards - group_means(trajectories.rewards, trajectories.group)
        spread = (group_means(centred.square(), trajectories.group)).sqrt()
        return Signals(values=(centred / (spread + 1e-4)).clamp(-5, 5))

    def loss(self, batch: Denoisings) -> Loss:
        log_ratio = error(batch.output_old, batch) - error(batch.output, batch)
        return Loss(values=-batch.signal * log_ratio.clamp(-20, 20).exp())


SOUND = (Weighted, Tilted, Matched)


def spec(objective: Any = Weighted, **changes: Any) -> ObjectiveSpec[Any]:
    fields = {
        "name": "tried",
        "summary": "Tried",
        "build": lambda options: objective(),
        "options": Options,
        "needs": getattr(objective, "needs", frozenset()),
        "batches": "denoisings",
        "compares_images": getattr(objective, "compares", False),
    }
    return ObjectiveSpec(**{**fields, **changes})


def failing(tried: ObjectiveSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(OBJECTIVE_CHECKS, ObjectiveCase(spec=tried, **case), {}, strict=True)
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


def losing(change: Any, needs: frozenset[Needs] = frozenset()) -> ObjectiveSpec[Any]:
    """An objective whose loss is `change(loss, batch)` of a sound one."""

    class Changed(Weighted):
        def loss(self, batch: Denoisings) -> Loss:
            return change(super().loss(batch), batch)

    return spec(Changed, needs=needs)


def values(change: Any, needs: frozenset[Needs] = frozenset()) -> ObjectiveSpec[Any]:
    """An objective whose losses are `change(values, batch)` of a sound one's."""
    return losing(lambda loss, batch: evolve(loss, values=change(loss.values, batch)), needs)


def metrics(change: Any) -> ObjectiveSpec[Any]:
    return losing(lambda loss, batch: evolve(loss, metrics={"tried": change(batch)}))


def preparing(change: Any) -> ObjectiveSpec[Any]:
    """An objective whose signals are `change(signals, trajectories)` of a sound one's."""

    class Changed(Weighted):
        def prepare(self, trajectories: Trajectories) -> Signals:
            return change(super().prepare(trajectories), trajectories)

    return spec(Changed)


def spoils(loss: Loss, batch: Denoisings) -> Loss:
    batch.noise.clamp_(-1, 1)
    return loss


class Counting(Weighted):
    """Its loss counts its calls."""

    calls = 0

    def loss(self, batch: Denoisings) -> Loss:
        self.calls += 1
        loss = super().loss(batch)
        return evolve(loss, values=loss.values * (1 + 0.1 * self.calls))


def distance(batch: Denoisings) -> Tensor:
    return (batch.output - batch.output_old).square().flatten(1).sum(1).sqrt()


OLD = frozenset({Needs.OLD_OUTPUT})

BROKEN: list[tuple[str, ObjectiveSpec[Any], str]] = [
    ("needs_are_possible", spec(needs=frozenset({Needs.STATE_FLOW})), "STATE_FLOW, which the forward process does not"),
    ("needs_are_possible", spec(needs=frozenset({Needs.OLD})), "it has OLD_OUTPUT, REFERENCE"),
    (
        "only_what_it_needs_is_read",
        values(lambda v, b: v + error(b.output_old, b).detach()),
        "Denoisings have no `output_old`, since the objective does not need OLD_OUTPUT",
    ),
    (
        "only_what_it_needs_is_read",
        values(lambda v, b: v + error(b.output_reference, b).detach()),
        "Denoisings have no `output_reference`, since the objective does not need REFERENCE",
    ),
    ("only_what_it_needs_is_read", values(lambda v, b: v * len(b.parts)), "where output_old, output_reference are"),
    ("one_loss_per_row", values(lambda v, b: v[:, None]), "(32, 1) for 32 noised images"),
    (
        "one_loss_per_row",
        values(lambda v, b: v[:, None, None, None] * (b.output - b.target).square()),
        "(32, 4, 2, 2) for 32 noised images; it must be (32,)",
    ),
    ("losses_are_float32", values(lambda v, b: v.double()), "torch.float64"),
    ("a_batch_of_one", values(lambda v, b: v.squeeze()), "for one noised image; it must be (1,)"),
    ("losses_are_finite", values(lambda v, b: v + distance(b), OLD), "gradient in output that is not finite"),
    (
        "extreme_values_are_handled",
        values(lambda v, b: v + error(b.output, b).exp()),
        "a loss that is not finite for a batch with values of up to 1e4",
    ),
    ("extreme_values_are_handled", values(lambda v, b: v * b.log_reward.exp()), "stay in logarithms"),
    (
        "order_does_not_matter",
        values(lambda v, b: v * torch.linspace(1, 2, len(v))),
        "gives a noised image another loss at another place",
    ),
    ("the_same_input_gives_the_same_loss", spec(Counting), "let only `prepare` change"),
    ("the_batch_is_not_changed", losing(spoils), "loss changed noise"),
    ("metrics_are_tensors", metrics(lambda b: b.output.abs().flatten(1).mean(1)), "with a gradient; detach it"),
    ("metrics_are_tensors", metrics(lambda b: b.x_t), "of shape (32, 4, 2, 2) for 32 noised images"),
    ("something_is_trained", values(lambda v, b: v.detach()), "in output; nothing would be learnt"),
    ("something_is_trained", values(lambda v, b: 0 * v), "one that is zero"),
    (
        "nothing_undeclared_is_trained",
        values(lambda v, b: v + 0 * b.parts[Needs.REFERENCE].flatten(1).mean(1) if b.parts else v),
        "gradient in output_reference, which it does not need",
    ),
    (
        "signals_are_valid",
        preparing(lambda s, t: evolve(s, values=s.values.expand(1, -1))),
        "shape (1, 12) for 12 trajectories; they must be a tensor of shape (12,), or None",
    ),
    (
        "one_trajectory_is_enough",
        preparing(lambda s, t: evolve(s, values=(t.rewards - t.rewards.mean()) / (t.rewards.std() + 1e-4))),
        "not finite for 1 trajectory",
    ),
    (
        "equal_rewards_are_handled",
        preparing(lambda s, t: evolve(s, values=t.rewards / (t.rewards.max() - t.rewards.mean() or len(t) == 1))),
        "add a small number to a spread",
    ),
    ("trajectories_are_not_changed", preparing(lambda s, t: [s, t.rewards.sub_(1)][0]), "prepare changed rewards"),
]
ALSO = {
    # A loss that differs every time differs without the other parts, too, and its count is lost.
    "the_same_input_gives_the_same_loss": {
        "only_what_it_needs_is_read",
        "order_does_not_matter",
        "state_survives_a_checkpoint",
    },
    # Signals of the wrong shape are refused wherever an objective prepares.
    "signals_are_valid": {name_of(check) for check in OBJECTIVE_CHECKS},
}


@pytest.mark.parametrize("objective", SOUND)
def test_a_sound_objective_passes(objective: type) -> None:
    assert not failing(spec(objective))
    assert not failing(spec(objective), rows=7, images_per_prompt=2)


@pytest.mark.parametrize(("name", "tried", "message"), BROKEN, ids=[f"{name}: {m}" for name, _, m in BROKEN])
def test_a_broken_objective_fails_the_check_of_its_rule_only(
    name: str, tried: ObjectiveSpec[Any], message: str
) -> None:
    found = failing(tried)
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name} - ALSO.get(name, set())


def test_transitions_are_not_to_be_had() -> None:
    class Transitional(Weighted):
        def loss(self, batch: Any) -> Loss:
            return Loss(values=-batch.signal * batch.log_pf)

    assert "no attribute 'log_pf'" in failing(spec(Transitional))["one_loss_per_row"]


def test_log_densities_of_a_path_are_not_to_be_had() -> None:
    tried = preparing(lambda s, t: evolve(s, values=t.log_pf_old[:, 0]))
    assert "IndexError" in failing(tried)["signals_are_valid"]


# Those that are the same for transitions are tested in test_objective_checks.py.
ELSEWHERE = {
    "options_are_frozen",
    "options_have_types",
    "options_survive_a_run_file",
    "options_are_documented",
    "works_offline",
    "it_is_an_objective",
    "auxiliary_networks_are_trained",
    "state_survives_a_checkpoint",
    "state_is_a_snapshot",
}


def test_every_check_is_tested() -> None:
    assert {name_of(check) for check in OBJECTIVE_CHECKS} == {name for name, *_ in BROKEN} | ELSEWHERE
