"""∇-DB by hand, and what its gradients reach."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor

from dagsdk import Needs, Transitions
from dagsdk.errors import TrainingError
from dagsdk.testing.records import PARTS, with_leaves
from dagsdk.testing.trajectories import trajectories, transitions
from dagsdk_nabla.nabla_db import NablaDB
from dagsdk_nabla.options import NablaDBOptions, nabla_db_needs

ALL_NEEDS = nabla_db_needs(NablaDBOptions())
STATES = ("scores.next", "flow_gradient.here", "flow_gradient.next", "backward_scores.here")


def nabla(**options: Any) -> NablaDB:
    return NablaDB(NablaDBOptions(**{"regulariser": 0.0, **options}))


# --- by hand ---


def by_hand(changes: Mapping[str, Tensor] = MappingProxyType({}), needs: frozenset[Needs] = ALL_NEEDS) -> Transitions:
    """Two transitions of states of two numbers, the second one the last; β = 10. Only what is needed is filled."""
    one = torch.ones(2)
    values = {
        "signal": 10 * one,
        "reward_gradient.alpha_bar": torch.tensor([0.1, 0.5]),
        "reward_gradient.alpha_bar_next": torch.tensor([0.5, 0.9]),
        "reward_gradient.here": torch.tensor([[1.0, 0.0], [0.6, -0.2]]),
        "reward_gradient.next": torch.tensor([[0.6, -0.2], [0.3, 0.4]]),
        "scores.next": torch.tensor([[4.0, 1.0], [5.0, 2.0]]),
        "scores.next_reference": torch.tensor([[1.0, 1.0], [1.0, 1.0]]),
        "backward_scores.here": torch.tensor([[2.0, 0.0], [1.0, 1.0]]),
        "backward_scores.here_reference": torch.tensor([[1.0, 1.0], [3.0, 0.0]]),
        "flow_gradient.here": torch.tensor([[-1.0, 2.0], [0.5, -0.5]]),
        "flow_gradient.next": torch.tensor([[0.5, -0.5], [2.0, 4.0]]),
        "old_output.gap": torch.tensor([0.01, 0.02]),
        **changes,
    }
    named = {need: PARTS[Transitions][need] for need in needs}
    return Transitions(
        log_pf=one,
        log_pb=one,
        log_reward=one,
        is_last=torch.tensor([False, True]),
        step=torch.tensor([0, 1]),
        signal=values["signal"],
        parts={
            need: part(**{field.name: values[f"{name}.{field.name}"] for field in attrs.fields(part)})
            for need, (name, part) in named.items()
        },
    )


def test_losses_by_hand() -> None:
    """R(x') is 10 · 0.5 · (0.6, -0.2) = (3, -1), and at the end 10 · (0.3, 0.4) = (3, 4), without its ᾱ."""
    loss = nabla(reverse=0.5, terminal=2.0, regulariser=100.0).loss(by_hand())
    forward = torch.tensor([((3 - 0.5 - 3) ** 2 + (0 + 0.5 + 1) ** 2) / 2, ((4 - 3) ** 2 + (1 - 4) ** 2) / 2])
    # R(x) is 10 · 0.1 · (1, 0) = (1, 0), and 10 · 0.5 · (0.6, -0.2) = (3, -1)
    reverse = torch.tensor([((1 - 1 + 1) ** 2 + (-1 + 2 + 0) ** 2) / 2, ((-2 + 0.5 + 3) ** 2 + (1 - 0.5 - 1) ** 2) / 2])
    terminal = torch.tensor([0.0, (2**2 + 4**2) / 2])
    torch.testing.assert_close(loss.values, forward + 0.5 * reverse + 2 * terminal + torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(loss.metrics["forward"], forward)
    torch.testing.assert_close(loss.metrics["reverse"], 0.5 * reverse)
    torch.testing.assert_close(loss.metrics["terminal"], 2 * terminal)
    torch.testing.assert_close(loss.metrics["pull"], torch.tensor([5.0, 12.5]).sqrt())
    torch.testing.assert_close(loss.metrics["moved"], torch.tensor([4.5, 8.5]).sqrt())


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_weighted_by_their_variance_late_steps_count_for_less(power: float) -> None:
    """τ² is 0.5 / 0.9 · (1 - 0.1 / 0.5) = 4 / 9, then 0.1 / 0.5 · (1 - 0.5 / 0.9) = 4 / 45."""
    plain, weighted = (nabla(weighting=p, regulariser=100.0).loss(by_hand()) for p in (0.0, power))
    for name in ("forward", "reverse", "terminal"):
        torch.testing.assert_close(weighted.metrics[name], plain.metrics[name] * torch.tensor([4 / 9, 4 / 45]) ** power)
    for name in ("regulariser", "pull", "moved"):  # of outputs, and not losses
        assert torch.equal(weighted.metrics[name], plain.metrics[name])


def test_without_a_reverse_loss_the_policy_follows_the_reward() -> None:
    loss = nabla(reverse=0.0).loss(by_hand(needs=frozenset({Needs.SCORES, Needs.REWARD_GRADIENT})))
    torch.testing.assert_close(loss.values, torch.tensor([(0 + 1) / 2, (1 + 9) / 2]))
    assert set(loss.metrics) == {"forward", "pull", "moved"}


def test_long_gradients_are_scaled_down() -> None:
    """(0.3, 0.4) has norm 0.5: clipped to 0.25 it is (0.15, 0.2); (0.06, -0.02) stays."""
    batch = by_hand({"reward_gradient.next": torch.tensor([[0.06, -0.02], [0.3, 0.4]])})
    clipped = by_hand({"reward_gradient.next": torch.tensor([[0.06, -0.02], [0.15, 0.2]])})
    options = {"reverse": 0.0}
    expected = nabla(**options).loss(clipped).values
    torch.testing.assert_close(nabla(**options, gradient_clip=0.25).loss(batch).values, expected)
    assert not torch.allclose(nabla(**options).loss(batch).values, expected)
    still = by_hand({"reward_gradient.next": torch.zeros(2, 2)})
    assert nabla(gradient_clip=0.25).loss(still).values.isfinite().all()


# --- what is trained ---


def reached(batch: Transitions, **options: Any) -> dict[str, Tensor]:
    """The gradient of the losses, by the name of each tensor of states that it reaches."""
    weights = {"reverse": 1e-12, "terminal": 0.0, **options}
    batch = with_leaves(batch, STATES)
    leaves = {name: attrgetter(name)(batch) for name in STATES}
    found = torch.autograd.grad(nabla(**weights).loss(batch).values.sum(), list(leaves.values()), allow_unused=True)
    return {name: g for name, g in zip(leaves, found, strict=True) if g is not None and g.abs().max() > 1e-6}


def test_the_policy_learns_from_the_forward_loss_alone() -> None:
    batch = by_hand()
    forward = reached(batch)
    assert forward.keys() == {"scores.next", "flow_gradient.next"}
    # d/ds of the mean over two numbers is (s_θ - s_ref - g - R); g has the opposite, and none at the end
    torch.testing.assert_close(forward["scores.next"], torch.tensor([[-0.5, 1.5], [1.0, -3.0]]))
    torch.testing.assert_close(forward["flow_gradient.next"], torch.tensor([[0.5, -1.5], [0.0, 0.0]]))
    both = reached(batch, reverse=1.0)
    assert both.keys() == {"scores.next", "flow_gradient.next", "flow_gradient.here"}  # and never the score in x_t
    torch.testing.assert_close(both["scores.next"], forward["scores.next"])
    torch.testing.assert_close(both["flow_gradient.here"], torch.tensor([[1.0, 1.0], [1.5, -0.5]]))
    terminal = reached(batch, terminal=1.0)["flow_gradient.next"] - forward["flow_gradient.next"]
    torch.testing.assert_close(terminal, torch.tensor([[0, 0], [2.0, 4.0]]))


def test_beta_rises_and_is_the_signal_of_each_transition() -> None:
    objective = nabla(beta=8.0, beta_warmup=0.5)
    for epoch, beta in ((0, 0.0), (2, 3.2), (5, 8.0), (9, 8.0)):
        sampled = trajectories(epoch=epoch, epochs=10)
        signals = objective.prepare(sampled)
        assert signals.beta == signals.metrics["beta"] == pytest.approx(beta)
        batch = transitions(of=sampled, signals=signals)
        torch.testing.assert_close(batch.signal, torch.full_like(batch.signal, beta))


def test_a_reference_policy_at_beta_zero_has_no_loss() -> None:
    still = {
        "signal": torch.zeros(2),
        "scores.next": torch.ones(2, 2),
        "backward_scores.here": torch.zeros(2, 2),
        "backward_scores.here_reference": torch.zeros(2, 2),
        "flow_gradient.here": torch.zeros(2, 2),
        "flow_gradient.next": torch.zeros(2, 2),
    }
    assert nabla().loss(by_hand(still)).values.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 1, 1), (4, 5, 7)])
def test_states_have_any_shape(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    names = (*STATES, "scores.next_reference", "backward_scores.here_reference", "reward_gradient.here")
    states = {name: torch.randn(2, *shape, generator=generator) for name in names}
    states["reward_gradient.next"] = states["reward_gradient.here"].flip(0)
    flat = {name: value.reshape(2, -1) for name, value in states.items()}
    torch.testing.assert_close(nabla().loss(by_hand(states)).values, nabla().loss(by_hand(flat)).values)


# --- what it needs ---


def test_needs_follow_the_options() -> None:
    scores = {Needs.SCORES, Needs.REWARD_GRADIENT}
    g_phi = {Needs.BACKWARD_SCORES, Needs.FLOW_GRADIENT}
    assert scores | g_phi | {Needs.OLD_OUTPUT} == ALL_NEEDS
    assert nabla_db_needs(NablaDBOptions(regulariser=0.0)) == scores | g_phi
    assert nabla_db_needs(NablaDBOptions(reverse=0.0)) == scores | {Needs.OLD_OUTPUT}
    assert nabla_db_needs(NablaDBOptions(reverse=0.0, regulariser=0.0)) == scores


@pytest.mark.parametrize("need", sorted(ALL_NEEDS, key=lambda need: need.name))
def test_a_missing_part_is_named(need: Needs) -> None:
    with pytest.raises(TrainingError, match=rf"Needs\.{need.name} to"):
        NablaDB().loss(by_hand(needs=ALL_NEEDS - {need}))


@pytest.mark.parametrize("name", ["beta", "reverse", "terminal", "weighting", "gradient_clip", "regulariser"])
def test_options_have_ranges(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        NablaDBOptions(**{name: -1.0})
    for name, largest in (("beta_warmup", 1.0), ("weighting", 2.0)):
        with pytest.raises(ValueError, match=name):
            NablaDBOptions(**{name: largest + 0.5})
