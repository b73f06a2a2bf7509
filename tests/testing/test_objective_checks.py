"""Each rule of the objective contract is caught by its own check, and by no other, in one that breaks just it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import attrs
import pytest
import torch
from attrs import evolve

from dagsdk import builtin
from dagsdk.objectives.kl import clipped_surrogate
from dagsdk.objectives.protocol import Loss, Needs, Signals, Trajectories, Transitions
from dagsdk.specs import NoOptions, ObjectiveSpec
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.objective_checks import OBJECTIVE_CHECKS, ObjectiveCase

pytestmark = pytest.mark.filterwarnings("ignore:std")  # of one value, which is what is tried


@attrs.frozen
class Options:
    """scale: what the loss is multiplied by."""

    scale: float = 1.0


class Reinforce:
    """-A log p_F, where A is the score less the mean of a prompt's scores of all epochs, as DDPO's tracker has it."""

    needs = frozenset[Needs]()

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}

    def prepare(self, trajectories: Trajectories) -> Signals:
        scores = trajectories.scores
        for prompt, score in zip(trajectories.prompts, scores.tolist(), strict=True):
            self.history.setdefault(prompt.text, []).append(score)
        means = torch.tensor([sum(h) / len(h) for h in (self.history[p.text] for p in trajectories.prompts)])
        values = (scores - means.to(scores)) / (scores.std(correction=0) + 1e-4)
        return Signals(values=values, metrics={"scores": float(scores.mean())})

    def loss(self, batch: Transitions) -> Loss:
        return Loss(values=-batch.signal * batch.log_pf, metrics={"signal": batch.signal.abs()})

    def state_dict(self) -> dict[str, Any]:
        return {"history": {text: list(scores) for text, scores in self.history.items()}}

    def load_state_dict(self, state: Any) -> None:
        self.history = {text: list(scores) for text, scores in state["history"].items()}


class Clipped(Reinforce):
    """The same with PPO's clipped ratio."""

    needs = frozenset({Needs.OLD_LOG_PROB})

    def loss(self, batch: Transitions) -> Loss:
        return Loss(values=clipped_surrogate(batch.signal, batch.log_pf - batch.log_pf_old, 1e-4))


class Grouped(Reinforce):
    """GRPO: standardised within groups by the unbiased spread, and a KL divergence from the reference."""

    needs = frozenset({Needs.GROUPS, Needs.REFERENCE, Needs.OLD_LOG_PROB})

    def prepare(self, trajectories: Trajectories) -> Signals:
        values = torch.zeros_like(trajectories.scores)
        for number in trajectories.group.unique():
            of_group = trajectories.group == number
            scores = trajectories.scores[of_group]
            values[of_group] = (scores - scores.mean()) / (scores.std() + 1e-4)
        return Signals(values=values)

    def loss(self, batch: Transitions) -> Loss:
        away = batch.log_pf_reference - batch.log_pf
        surrogate = clipped_surrogate(batch.signal, batch.log_pf - batch.log_pf_old, 1e-4)
        return Loss(values=surrogate + 0.1 * (away.exp() - away - 1) + batch.reference_gap)


class Balance(Reinforce):
    """Trajectory balance with log Z averaged over a prompt's trajectories: the gradient of the squared residual."""

    def prepare(self, trajectories: Trajectories) -> Signals:
        beta = 10.0
        gaps = (trajectories.log_pf_old - trajectories.log_pb).sum(1) - beta * trajectories.scores
        log_z = {int(g): -gaps[trajectories.group == g].mean() for g in trajectories.group.unique()}
        return Signals(beta=beta, values=gaps + torch.stack([log_z[int(g)] for g in trajectories.group]))


class Flow(Reinforce):
    """The balance of neighbouring states, drawn to where the reward rises."""

    needs = frozenset({Needs.FLOW, Needs.REWARD_GRADIENT})

    def prepare(self, trajectories: Trajectories) -> Signals:
        return Signals(beta=trajectories.epoch / trajectories.epochs)

    def loss(self, batch: Transitions) -> Loss:
        balance = (batch.log_flow + batch.log_pf - batch.log_flow_next - batch.log_pb).square()
        return Loss(values=balance * (1 + batch.reward_gradient.flatten(1).norm(dim=1)))


SOUND = (Reinforce, Clipped, Grouped, Balance, Flow)


def spec(objective: Any = Reinforce, **changes: Any) -> ObjectiveSpec[Any]:
    fields = {
        "name": "tried",
        "summary": "Tried",
        "build": lambda options, context: objective(),
        "options": Options,
        "needs": getattr(objective, "needs", frozenset()),
    }
    return ObjectiveSpec(**{**fields, **changes})


def failing(tried: ObjectiveSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(OBJECTIVE_CHECKS, ObjectiveCase(spec=tried, **case), {})
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


def spoils_scores(signals: Signals, trajectories: Trajectories) -> Signals:
    trajectories.scores.sub_(trajectories.scores.mean())
    return signals


def divides_by_spread(signals: Signals, trajectories: Trajectories) -> Signals:
    scores = trajectories.scores
    spread = scores.std(correction=0) if len(scores) > 1 else torch.ones(())
    return evolve(signals, values=(scores - scores.mean()) / spread)


def unbiased(signals: Signals, trajectories: Trajectories) -> Signals:
    scores = trajectories.scores
    return evolve(signals, values=(scores - scores.mean()) / (scores.std() + 1e-4))


class Forgetful(Reinforce):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        pass


class Live(Reinforce):
    """Its state is what it goes on to write to."""

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}


class Adopting(Reinforce):
    """It goes on to write to the state that it was given."""

    def load_state_dict(self, state: Any) -> None:
        self.history = state["history"]


class Counting(Reinforce):
    """Its loss remembers how often it was asked."""

    asked = 0

    def loss(self, batch: Transitions) -> Loss:
        self.asked += 1
        loss = super().loss(batch)
        return evolve(loss, values=loss.values * (1 + 0.1 * self.asked))


@attrs.define
class Changeable:
    """scale: what the loss is multiplied by."""

    scale: float = 1.0


@attrs.frozen
class Undocumented:
    """Nothing is said of the option."""

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


GAP = frozenset({Needs.OUTPUT_GAP})
FLOW = frozenset({Needs.FLOW})

BROKEN: dict[str, tuple[ObjectiveSpec[Any], str]] = {
    "options_are_frozen": (spec(options=Changeable), "decorate the class with `@attrs.frozen`"),
    "options_have_types": (spec(options=Untyped), "options scale of Untyped take anything"),
    "options_survive_a_run_file": (spec(options=Doubling), "read back"),
    "options_are_documented": (spec(options=Undocumented), "options scale have no line"),
    "works_offline": (spec(build=downloads), "localhost"),
    "needs_are_declared": (spec(Clipped, needs=frozenset()), "needs OLD_LOG_PROB, which its ObjectiveSpec does not"),
    "only_what_it_needs_is_read": (
        values(lambda v, b: v if b.log_pf_old is None else v * b.log_pf_old.detach()),
        "log_pf_old",
    ),
    "one_loss_a_transition": (values(lambda v, b: v[:, None]), "(32, 1) for 32 transitions"),
    "losses_are_float32": (values(lambda v, b: v.double()), "torch.float64"),
    "a_batch_of_one": (values(lambda v, b: v.squeeze()), "must be (1,): do not squeeze"),
    "losses_are_finite": (
        values(lambda v, b: v + b.output_gap.sqrt(), needs=GAP),
        "gradient in output_gap that is not finite for a policy that moved by",
    ),
    "extremes_are_survived": (values(lambda v, b: v + b.log_flow.exp(), needs=FLOW), "stay in logarithms"),
    "order_does_not_matter": (
        values(lambda v, b: v * torch.linspace(1, 2, len(v))),
        "another loss in another place",
    ),
    "the_same_input_has_the_same_loss": (spec(Counting), "let only `prepare` change what it remembers"),
    "transitions_are_left_as_they_were": (losing(spoils), "loss changed log_pb"),
    "metrics_are_figures": (metrics(lambda b: b.log_pf.abs()), "'tried' with a gradient; detach it"),
    "something_is_trained": (values(lambda v, b: v.detach()), "nothing would be learnt"),
    "networks_beside_the_policy_are_trained": (
        values(lambda v, b: v + b.log_flow.detach(), needs=FLOW),
        "no gradient in log_flow or log_flow_next; train the network",
    ),
    "nothing_undeclared_is_trained": (
        values(lambda v, b: v if b.output_gap is None else v + 0 * b.output_gap),
        "gradient in output_gap, which it does not need",
    ),
    "signals_are_usable": (
        preparing(lambda s, t: evolve(s, metrics={"scores": t.scores.mean()})),
        "metrics['scores'] = tensor(",
    ),
    "one_trajectory_is_enough": (preparing(unbiased), "not finite for 1 trajectory"),
    "equal_scores_are_survived": (preparing(divides_by_spread), "add a small number to a spread"),
    "trajectories_are_left_as_they_were": (preparing(spoils_scores), "prepare changed scores"),
    "state_survives_a_checkpoint": (spec(Forgetful), "put all that it remembers into `state_dict`"),
    "a_state_is_a_snapshot": (spec(Live), "changed when the objective went on"),
}
# A loss that differs every time differs without the other fields, too.
ALSO = {"the_same_input_has_the_same_loss": {"only_what_it_needs_is_read", "order_does_not_matter"}}
ALSO["the_same_input_has_the_same_loss"] |= {"state_survives_a_checkpoint"}  # for its count is lost


@pytest.mark.parametrize("objective", SOUND)
def test_a_sound_objective_passes(objective: type) -> None:
    assert not failing(spec(objective))
    assert not failing(spec(objective, options=NoOptions), steps=20, transitions=7)


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
    ("needs_are_declared", spec(lambda: object()), "is no objective"),
    ("needs_are_declared", values(lambda v, b: v, needs={Needs.FLOW}), "must be a frozenset"),  # type: ignore[arg-type]
    ("needs_are_declared", values(lambda v, b: v, needs=frozenset({Needs.FORWARD_LOOKING})), "without FLOW"),
    ("needs_are_declared", values(lambda v, b: v, needs=frozenset({Needs.FLOW_PATH})), "FLOW_PATH without FLOW"),
    (
        "needs_are_declared",
        spec(Clipped, unneeded=lambda options: Clipped.needs),
        "OLD_LOG_PROB, which its ObjectiveSpec says",
    ),
    ("needs_are_declared", spec(unneeded=lambda options: {"flow"}), "unneeded {'flow'}; they must be a frozenset"),
    ("one_loss_a_transition", losing(lambda loss, batch: loss.values), "must return a `Loss`"),
    ("one_loss_a_transition", values(lambda v, b: v.mean()), "() for 32 transitions"),
    ("losses_are_finite", values(lambda v, b: v / (b.log_pf - b.log_pf_old), Clipped), "not finite"),
    ("a_batch_of_one", values(lambda v, b: v / v.std()), "[nan] for one transition"),
    ("extremes_are_survived", values(lambda v, b: v + b.output_gap.exp(), needs=GAP), "clamp what is"),
    ("extremes_are_survived", preparing(lambda s, t: evolve(s, values=t.log_pb.sum(1).exp())), "not finite"),
    ("metrics_are_figures", metrics(lambda b: float(b.signal.mean())), "of type float"),
    ("metrics_are_figures", metrics(lambda b: b.signal[:, None]), "of shape (32, 1)"),
    ("metrics_are_figures", metrics(lambda b: b.signal.std()), "not finite for 1 transitions"),
    ("something_is_trained", values(lambda v, b: 0 * v), "one that is zero"),
    (
        "networks_beside_the_policy_are_trained",
        values(lambda v, b: v.detach() + b.log_pf, Flow),
        "needs FLOW, and its losses have no gradient",
    ),
    (
        "networks_beside_the_policy_are_trained",
        values(lambda v, b: v + b.residual.detach().flatten(1).mean(1), needs=frozenset({Needs.RESIDUAL})),
        "no gradient in residual or residual_next",
    ),
    ("signals_are_usable", preparing(lambda s, t: s.values), "must return a `Signals`"),
    ("signals_are_usable", preparing(lambda s, t: evolve(s, beta=float("nan"))), "beta = nan"),
    ("signals_are_usable", preparing(lambda s, t: evolve(s, values=s.values[:, None])), "shape (12, 1)"),
    ("signals_are_usable", preparing(lambda s, t: evolve(s, values=s.values.long())), "torch.int64"),
    ("signals_are_usable", preparing(lambda s, t: evolve(s, values=t.scores.requires_grad_())), "requires_grad True"),
    ("signals_are_usable", preparing(lambda s, t: evolve(s, values=t.scores / 0)), "not finite"),
    ("a_state_is_a_snapshot", spec(Adopting), "was restored elsewhere"),
]


@pytest.mark.parametrize(("name", "tried", "message"), FURTHER, ids=[f"{name}: {m}" for name, _, m in FURTHER])
def test_further_ways_to_break_a_rule(name: str, tried: ObjectiveSpec[Any], message: str) -> None:
    assert message in failing(tried)[name]


def test_every_check_is_tried() -> None:
    assert {name_of(check) for check in OBJECTIVE_CHECKS} == set(BROKEN)
