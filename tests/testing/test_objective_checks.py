"""Each rule of the objective contract is caught by its own check, and by no other, in an objective that breaks just it.

Those on the forward process are in test_denoising_checks.py.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import attrs
import pytest
import torch
from attrs import evolve

from dagsdk import builtin
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Loss, Signals, Transitions
from dagsdk.objectives.toolbox import clipped_surrogate
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.specs import NoOptions, ObjectiveSpec
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.objective_checks import OBJECTIVE_CHECKS, ObjectiveCase

pytestmark = pytest.mark.filterwarnings("ignore:std")  # of one value, on purpose


@attrs.frozen
class Options:
    """scale: what the loss is multiplied by."""

    scale: float = 1.0


class Reinforce:
    """-A log p_F, where A is the reward less the mean of a prompt's rewards of all epochs, as in DDPO's tracker."""

    needs = frozenset[Needs]()  # for `spec` below; the engine reads those of the record
    compares = False

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}

    def prepare(self, trajectories: Trajectories) -> Signals:
        rewards = trajectories.rewards
        for prompt, reward in zip(trajectories.prompts, rewards.tolist(), strict=True):
            self.history.setdefault(prompt.text, []).append(reward)
        means = torch.tensor([sum(h) / len(h) for h in (self.history[p.text] for p in trajectories.prompts)])
        values = (rewards - means.to(rewards)) / (rewards.std(correction=0) + 1e-4)
        return Signals(values=values, metrics={"rewards": float(rewards.mean())})

    def loss(self, batch: Transitions) -> Loss:
        return Loss(values=-batch.signal * batch.log_pf, metrics={"signal": batch.signal.abs()})

    def state_dict(self) -> dict[str, Any]:
        return {"history": {text: list(rewards) for text, rewards in self.history.items()}}

    def load_state_dict(self, state: Any) -> None:
        self.history = {text: list(rewards) for text, rewards in state["history"].items()}


class Clipped(Reinforce):
    """The same with PPO's clipped ratio."""

    needs = frozenset({Needs.OLD})

    def loss(self, batch: Transitions) -> Loss:
        return Loss(values=clipped_surrogate(batch.signal, batch.log_pf - batch.old.log_pf, 1e-4))


class Grouped(Reinforce):
    """GRPO: standardised within groups by the unbiased spread, and a KL divergence from the reference."""

    needs = frozenset({Needs.REFERENCE, Needs.OLD})
    compares = True

    def prepare(self, trajectories: Trajectories) -> Signals:
        values = torch.zeros_like(trajectories.rewards)
        for number in trajectories.group.unique():
            of_group = trajectories.group == number
            rewards = trajectories.rewards[of_group]
            values[of_group] = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        return Signals(values=values)

    def loss(self, batch: Transitions) -> Loss:
        away = batch.reference.log_pf - batch.log_pf
        surrogate = clipped_surrogate(batch.signal, batch.log_pf - batch.old.log_pf, 1e-4)
        return Loss(values=surrogate + 0.1 * (away.exp() - away - 1) + batch.reference.gap)


class Balance(Reinforce):
    """Trajectory balance with log Z averaged over a prompt's trajectories: the gradient of the squared residual."""

    def prepare(self, trajectories: Trajectories) -> Signals:
        beta = 10.0
        gaps = (trajectories.log_pf_old - trajectories.log_pb).sum(1) - beta * trajectories.rewards
        log_z = {int(g): -gaps[trajectories.group == g].mean() for g in trajectories.group.unique()}
        return Signals(beta=beta, values=gaps + torch.stack([log_z[int(g)] for g in trajectories.group]))


class Flow(Reinforce):
    """The balance of neighbouring states, weighted by how fast the reward rises."""

    needs = frozenset({Needs.STATE_FLOW, Needs.REWARD_GRADIENT})

    def prepare(self, trajectories: Trajectories) -> Signals:
        return Signals(beta=trajectories.epoch / trajectories.epochs)

    def loss(self, batch: Transitions) -> Loss:
        balance = (batch.state_flow.here + batch.log_pf - batch.state_flow.next - batch.log_pb).square()
        return Loss(values=balance * (1 + batch.reward_gradient.here.flatten(1).norm(dim=1)))


class Relative(Balance):
    """Trajectory balance relative to the model before training, whose log-densities `prepare` reads."""

    needs = frozenset({Needs.REFERENCE_PATH})

    def prepare(self, trajectories: Trajectories) -> Signals:
        return super().prepare(evolve(trajectories, log_pb=trajectories.reference.log_pf))


SOUND = (Reinforce, Clipped, Grouped, Balance, Flow, Relative)


def spec(objective: Any = Reinforce, **changes: Any) -> ObjectiveSpec[Any]:
    fields = {
        "name": "tried",
        "summary": "Tried",
        "build": lambda options, context: objective(),
        "options": Options,
        "needs": getattr(objective, "needs", frozenset()),
        "compares_images": getattr(objective, "compares", False),
    }
    return ObjectiveSpec(**{**fields, **changes})


def failing(tried: ObjectiveSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(OBJECTIVE_CHECKS, ObjectiveCase(spec=tried, **case), {}, strict=True)
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


def losing(change: Any, base: type[Reinforce] = Reinforce, needs: frozenset[Needs] | None = None) -> ObjectiveSpec[Any]:
    """An objective whose loss is `change(loss, batch)` of a sound one."""

    class Changed(base):  # type: ignore[valid-type, misc]
        def loss(self, batch: Transitions) -> Loss:
            return change(super().loss(batch), batch)

    Changed.needs = base.needs if needs is None else needs
    return spec(Changed)


def values(change: Any, base: type[Reinforce] = Reinforce, needs: frozenset[Needs] | None = None) -> ObjectiveSpec[Any]:
    """An objective whose losses are `change(values, batch)` of a sound one's."""
    return losing(lambda loss, batch: evolve(loss, values=change(loss.values, batch)), base, needs)


def metrics(change: Any) -> ObjectiveSpec[Any]:
    return losing(lambda loss, batch: evolve(loss, metrics={"tried": change(batch)}))


def preparing(change: Any) -> ObjectiveSpec[Any]:
    """An objective whose signals are `change(signals, trajectories)` of a sound one's."""

    class Changed(Reinforce):
        def prepare(self, trajectories: Trajectories) -> Signals:
            return change(super().prepare(trajectories), trajectories)

    return spec(Changed)


def spoils(loss: Loss, batch: Transitions) -> Loss:
    batch.log_pb.clamp_(0.9, 1.1)
    return loss


def spoils_rewards(signals: Signals, trajectories: Trajectories) -> Signals:
    trajectories.rewards.sub_(trajectories.rewards.mean())
    return signals


def divides_by_spread(signals: Signals, trajectories: Trajectories) -> Signals:
    rewards = trajectories.rewards
    spread = rewards.std(correction=0) if len(rewards) > 1 else torch.ones(())
    return evolve(signals, values=(rewards - rewards.mean()) / spread)


def unbiased(signals: Signals, trajectories: Trajectories) -> Signals:
    rewards = trajectories.rewards
    return evolve(signals, values=(rewards - rewards.mean()) / (rewards.std() + 1e-4))


class Stubborn:
    """Has no state at all."""

    prepare, loss = Reinforce.prepare, Reinforce.loss

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}


class Forgetful(Reinforce):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


class Live(Reinforce):
    """Its state is what it writes to later."""

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}


class Adopting(Reinforce):
    """It writes to the state that it was given."""

    def load_state_dict(self, state: Any) -> None:
        self.history = state["history"]


class Counting(Reinforce):
    """Its loss counts its calls."""

    calls = 0

    def loss(self, batch: Transitions) -> Loss:
        self.calls += 1
        loss = super().loss(batch)
        return evolve(loss, values=loss.values * (1 + 0.1 * self.calls))


@attrs.define
class Changeable:
    """scale: what the loss is multiplied by."""

    scale: float = 1.0


@attrs.frozen
class Undocumented:
    """The option is not mentioned."""

    scale: float = 1.0


@attrs.frozen
class Untyped:
    """scale: what the loss is multiplied by."""

    scale: Any = 1.0


@attrs.frozen
class Doubling:
    """scale: what the loss is multiplied by."""

    scale: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


def downloads(options, context):
    with contextlib.suppress(OSError):
        socket.create_connection(("localhost", 9), timeout=1)  # where nobody answers
    return Reinforce()


GAP = frozenset({Needs.OLD_OUTPUT})
FLOW = frozenset({Needs.STATE_FLOW})

BROKEN: dict[str, tuple[ObjectiveSpec[Any], str]] = {
    "options_are_frozen": (spec(options=Changeable), "decorate the class with `@attrs.frozen`"),
    "options_have_types": (spec(options=Untyped), "options scale of Untyped accept any value"),
    "options_survive_a_run_file": (spec(options=Doubling), "read back"),
    "options_are_documented": (spec(options=Undocumented), "options scale have no line"),
    "works_offline": (spec(build=downloads), "localhost"),
    "it_is_an_objective": (spec(Stubborn), "Stubborn, which is no objective"),
    "needs_are_possible": (
        spec(needs=frozenset({Needs.FORWARD_LOOKING})),
        "needs FORWARD_LOOKING without STATE_FLOW",
    ),
    "only_what_it_needs_is_read": (
        values(lambda v, b: v * b.old.log_pf.detach()),
        "Transitions have no `old`, since the objective does not need OLD; add Needs.OLD to the `needs`",
    ),
    "one_loss_per_row": (values(lambda v, b: v[:, None]), "(32, 1) for 32 transitions"),
    "losses_are_float32": (values(lambda v, b: v.double()), "torch.float64"),
    "a_batch_of_one": (values(lambda v, b: v.squeeze()), "must be (1,): do not squeeze"),
    "losses_are_finite": (
        values(lambda v, b: v + b.old_output.gap.sqrt(), needs=GAP),
        "gradient in old_output.gap that is not finite for a policy that moved by",
    ),
    "extreme_values_are_handled": (values(lambda v, b: v + b.state_flow.here.exp(), needs=FLOW), "stay in logarithms"),
    "order_does_not_matter": (
        values(lambda v, b: v * torch.linspace(1, 2, len(v))),
        "another loss at another place",
    ),
    "the_same_input_gives_the_same_loss": (spec(Counting), "let only `prepare` change what the objective remembers"),
    "the_batch_is_not_changed": (losing(spoils), "loss changed log_pb"),
    "metrics_are_tensors": (metrics(lambda b: b.log_pf.abs()), "'tried' with a gradient; detach it"),
    "something_is_trained": (values(lambda v, b: v.detach()), "nothing would be learnt"),
    "auxiliary_networks_are_trained": (
        values(lambda v, b: v + b.state_flow.here.detach(), needs=FLOW),
        "no gradient in state_flow.here or state_flow.next; train the network",
    ),
    "nothing_undeclared_is_trained": (
        values(lambda v, b: v + 0 * b.parts[Needs.OLD_OUTPUT].gap if Needs.OLD_OUTPUT in b.parts else v),
        "gradient in old_output.gap, which it does not need",
    ),
    "signals_are_valid": (
        preparing(lambda s, t: evolve(s, metrics={"rewards": t.rewards.mean()})),
        "metrics['rewards'] = tensor(",
    ),
    "one_trajectory_is_enough": (preparing(unbiased), "not finite for 1 trajectory"),
    "equal_rewards_are_handled": (preparing(divides_by_spread), "add a small number to a spread"),
    "trajectories_are_not_changed": (preparing(spoils_rewards), "prepare changed rewards"),
    "state_survives_a_checkpoint": (spec(Forgetful), "return all that it remembers from `state_dict`"),
    "state_is_a_snapshot": (spec(Live), "changed when training continued with the objective"),
}
ALSO = {
    # Without a state there is none to save.
    "it_is_an_objective": {"state_survives_a_checkpoint", "state_is_a_snapshot"},
    # A loss that differs every time differs without the other parts, too, and its count is lost.
    "the_same_input_gives_the_same_loss": {
        "only_what_it_needs_is_read",
        "order_does_not_matter",
        "state_survives_a_checkpoint",
    },
}


@pytest.mark.parametrize("objective", SOUND)
def test_a_sound_objective_passes(objective: type) -> None:
    assert not failing(spec(objective))
    assert not failing(spec(objective, options=NoOptions), steps=20, rows=7)


CORE = {found.name: found for found in builtin.dagsdk_objectives()}


@pytest.mark.parametrize("options", [{}, {"regulariser": 0.0}, {"forward_looking": False}])
@pytest.mark.parametrize("name", CORE)
def test_the_core_s_own_pass(name: str, options: dict[str, object]) -> None:
    assert not failing(CORE[name], options=options)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_objective_fails_the_check_of_its_rule_only(name: str) -> None:
    tried, message = BROKEN[name]
    found = failing(tried)
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


FURTHER: list[tuple[str, ObjectiveSpec[Any], str]] = [
    ("it_is_an_objective", spec(lambda: object()), "object, which is no objective"),
    ("needs_are_possible", spec(needs=lambda options: {Needs.OLD}), "OLD: 'old'>}; they must be a frozenset"),
    ("needs_are_possible", spec(needs=frozenset({"flow"})), "frozenset({'flow'}); they must be a frozenset"),
    ("needs_are_possible", spec(needs=frozenset({Needs.STATE_FLOW_PATH})), "STATE_FLOW_PATH without STATE_FLOW"),
    ("only_what_it_needs_is_read", spec(Clipped, needs=lambda options: frozenset()), "add Needs.OLD to the `needs`"),
    ("only_what_it_needs_is_read", spec(Relative, needs=frozenset()), "Trajectories have no `reference`"),
    (
        "only_what_it_needs_is_read",
        preparing(lambda s, t: evolve(s, beta=1.0 + len(t.parts))),
        "prepares other signals where the parts of trajectories that it does not need are missing",
    ),
    (
        "only_what_it_needs_is_read",
        values(lambda v, b: v * len(b.parts)),
        "gives other losses where state_flow, old, old_output, reference, scores, backward_scores, reward_gradient, ",
    ),
    ("one_loss_per_row", losing(lambda loss, batch: loss.values), "must return a `Loss`"),
    ("one_loss_per_row", values(lambda v, b: v.mean()), "() for 32 transitions"),
    ("losses_are_finite", values(lambda v, b: v / (b.log_pf - b.old.log_pf), Clipped), "not finite"),
    ("a_batch_of_one", values(lambda v, b: v / v.std()), "[nan] for a single transition"),
    ("extreme_values_are_handled", values(lambda v, b: v + b.old_output.gap.exp(), needs=GAP), "clamp what is"),
    ("extreme_values_are_handled", preparing(lambda s, t: evolve(s, values=t.log_pb.sum(1).exp())), "not finite"),
    ("metrics_are_tensors", metrics(lambda b: float(b.signal.mean())), "of type float"),
    ("metrics_are_tensors", metrics(lambda b: b.signal[:, None]), "of shape (32, 1)"),
    ("metrics_are_tensors", metrics(lambda b: b.signal.std()), "not finite for 1 transitions"),
    ("something_is_trained", values(lambda v, b: 0 * v), "one that is zero"),
    (
        "auxiliary_networks_are_trained",
        values(lambda v, b: v.detach() + b.log_pf, Flow),
        "needs STATE_FLOW, but its losses have no gradient",
    ),
    (
        "auxiliary_networks_are_trained",
        values(
            lambda v, b: v + b.flow_gradient.here.detach().flatten(1).mean(1), needs=frozenset({Needs.FLOW_GRADIENT})
        ),
        "no gradient in flow_gradient.here or flow_gradient.next",
    ),
    ("signals_are_valid", preparing(lambda s, t: s.values), "must return a `Signals`"),
    ("signals_are_valid", preparing(lambda s, t: evolve(s, beta=float("nan"))), "beta = nan"),
    ("signals_are_valid", preparing(lambda s, t: evolve(s, values=s.values[:, None])), "shape (12, 1)"),
    ("signals_are_valid", preparing(lambda s, t: evolve(s, values=s.values.long())), "torch.int64"),
    ("signals_are_valid", preparing(lambda s, t: evolve(s, values=t.rewards.requires_grad_())), "requires_grad True"),
    ("signals_are_valid", preparing(lambda s, t: evolve(s, values=t.rewards / 0)), "not finite"),
    ("state_is_a_snapshot", spec(Adopting), "an objective that was restored from it"),
]


@pytest.mark.parametrize(("name", "tried", "message"), FURTHER, ids=[f"{name}: {m}" for name, _, m in FURTHER])
def test_further_ways_to_break_a_rule(name: str, tried: ObjectiveSpec[Any], message: str) -> None:
    assert message in failing(tried)[name]


def test_a_group_is_enough_only_where_images_are_compared() -> None:
    assert not failing(spec(Grouped))
    found = failing(spec(Grouped, compares_images=lambda options: options.scale > 1))
    assert "not finite for 1 trajectory" in found["one_trajectory_is_enough"]
    assert not failing(spec(Grouped, compares_images=lambda options: options.scale > 1), options={"scale": 2.0})


def test_needs_are_those_of_the_options() -> None:
    tried = spec(Clipped, needs=lambda options: Clipped.needs if options.scale > 1 else frozenset())
    assert set(failing(tried)) == {"only_what_it_needs_is_read", "nothing_undeclared_is_trained"}
    assert not failing(tried, options={"scale": 2.0})


def test_an_objective_may_be_built_by_its_import_string() -> None:
    build = "dagsdk.objectives.detailed_balance:DetailedBalance"
    assert not failing(evolve(CORE["dag-db"], build=build))


def test_every_check_is_tested() -> None:
    assert {name_of(check) for check in OBJECTIVE_CHECKS} == set(BROKEN)
