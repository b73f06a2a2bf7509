"""∇-DB by hand, and what its gradients reach."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Needs, Transitions
from dagsdk.testing.trajectories import trajectories, transitions
from dagsdk_nabla.nabla_db import NablaDB
from dagsdk_nabla.options import NEEDS, NablaDBOptions

STATES = ("score_next", "residual", "residual_next", "score")


def nabla(**options: Any) -> NablaDB:
    return NablaDB(NablaDBOptions(**{"regulariser": 0.0, **options}))


# --- by hand ---


def by_hand(**changes: Any) -> Transitions:
    """Two transitions of states of two numbers, the second one the last; β = 10."""
    one = torch.ones(2)
    fields = {
        "log_pf": one,
        "log_pb": one,
        "log_reward": one,
        "is_last": torch.tensor([False, True]),
        "step": torch.tensor([0, 1]),
        "signal": 10 * one,
        "signal_level": torch.tensor([0.1, 0.5]),
        "signal_level_next": torch.tensor([0.5, 0.9]),
        "reward_gradient": torch.tensor([[1.0, 0.0], [0.6, -0.2]]),
        "reward_gradient_next": torch.tensor([[0.6, -0.2], [0.3, 0.4]]),
        "score_next": torch.tensor([[4.0, 1.0], [5.0, 2.0]]),
        "score_next_reference": torch.tensor([[1.0, 1.0], [1.0, 1.0]]),
        "score": torch.tensor([[2.0, 0.0], [1.0, 1.0]]),
        "score_reference": torch.tensor([[1.0, 1.0], [3.0, 0.0]]),
        "residual": torch.tensor([[-1.0, 2.0], [0.5, -0.5]]),
        "residual_next": torch.tensor([[0.5, -0.5], [2.0, 4.0]]),
        "output_gap": torch.tensor([0.01, 0.02]),
        **changes,
    }
    return Transitions(**fields)


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
    nothing = dict.fromkeys(("residual", "residual_next", "score", "score_reference", "output_gap"))
    loss = nabla(reverse=0.0).loss(by_hand(**nothing))
    torch.testing.assert_close(loss.values, torch.tensor([(0 + 1) / 2, (1 + 9) / 2]))
    assert set(loss.metrics) == {"forward", "pull", "moved"}


def test_long_gradients_are_scaled_down() -> None:
    """(0.3, 0.4) has norm 0.5: clipped to 0.25 it is (0.15, 0.2); (0.06, -0.02) stays."""
    batch = by_hand(reward_gradient_next=torch.tensor([[0.06, -0.02], [0.3, 0.4]]))
    clipped = by_hand(reward_gradient_next=torch.tensor([[0.06, -0.02], [0.15, 0.2]]))
    options = {"reverse": 0.0}
    expected = nabla(**options).loss(clipped).values
    torch.testing.assert_close(nabla(**options, gradient_clip=0.25).loss(batch).values, expected)
    assert not torch.allclose(nabla(**options).loss(batch).values, expected)
    still = by_hand(reward_gradient_next=torch.zeros(2, 2))
    assert nabla(gradient_clip=0.25).loss(still).values.isfinite().all()


# --- what learns ---


def reached(batch: Transitions, **options: Any) -> dict[str, Tensor]:
    """The gradient of the losses, in each field of states that it reaches."""
    weights = {"reverse": 1e-12, "terminal": 0.0, **options}
    leaves = {field: getattr(batch, field).clone().requires_grad_() for field in STATES}
    values = nabla(**weights).loss(evolve(batch, **leaves)).values.sum()
    found = torch.autograd.grad(values, list(leaves.values()), allow_unused=True)
    return {field: g for field, g in zip(leaves, found, strict=True) if g is not None and g.abs().max() > 1e-6}


def test_the_policy_learns_from_the_forward_loss_alone() -> None:
    batch = by_hand()
    forward = reached(batch)
    assert forward.keys() == {"score_next", "residual_next"}
    # d/ds of the mean over two numbers is (s_θ - s_ref - g - R); g has the opposite, and none at the end
    torch.testing.assert_close(forward["score_next"], torch.tensor([[-0.5, 1.5], [1.0, -3.0]]))
    torch.testing.assert_close(forward["residual_next"], torch.tensor([[0.5, -1.5], [0.0, 0.0]]))
    both = reached(batch, reverse=1.0)
    assert both.keys() == {"score_next", "residual_next", "residual"}  # and never the score in x_t
    torch.testing.assert_close(both["score_next"], forward["score_next"])
    torch.testing.assert_close(both["residual"], torch.tensor([[1.0, 1.0], [1.5, -0.5]]))
    terminal = reached(batch, terminal=1.0)
    torch.testing.assert_close(terminal["residual_next"] - forward["residual_next"], torch.tensor([[0, 0], [2.0, 4.0]]))


def test_beta_rises_and_comes_back_with_each_transition() -> None:
    objective = nabla(beta=8.0, beta_warmup=0.5)
    for epoch, beta in ((0, 0.0), (2, 3.2), (5, 8.0), (9, 8.0)):
        seen = trajectories(epoch=epoch, epochs=10)
        signals = objective.prepare(seen)
        assert signals.beta == signals.metrics["beta"] == pytest.approx(beta)
        batch = transitions(of=seen, signals=signals)
        torch.testing.assert_close(batch.signal, torch.full_like(batch.signal, beta))
    # without β and without a move, there is nothing to learn
    still = by_hand(
        signal=torch.zeros(2),
        score_next=torch.ones(2, 2),
        score=torch.zeros(2, 2),
        score_reference=torch.zeros(2, 2),
        residual=torch.zeros(2, 2),
        residual_next=torch.zeros(2, 2),
    )
    assert objective.loss(still).values.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 1, 1), (4, 5, 7)])
def test_states_have_any_shape(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    names = (*STATES, "score_reference", "reward_gradient")
    fields = {name: torch.randn(2, *shape, generator=generator) for name in names}
    fields["score_next_reference"] = fields["reward_gradient_next"] = fields["reward_gradient"]
    flat = {name: value.reshape(2, -1) for name, value in fields.items()}
    torch.testing.assert_close(nabla().loss(by_hand(**fields)).values, nabla().loss(by_hand(**flat)).values)


# --- what it asks for ---


def test_needs_follow_the_options() -> None:
    assert NablaDB().needs == NEEDS
    assert nabla().needs == NEEDS - {Needs.OUTPUT_GAP}
    assert nabla(reverse=0.0).needs == {Needs.SCORES, Needs.REWARD_GRADIENT}


@pytest.mark.parametrize("name", ["score_next", "reward_gradient", "signal_level_next", "residual"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(TrainingError, match=f"no {name};"):
        nabla().loss(by_hand(**{name: None}))


@pytest.mark.parametrize("name", ["beta", "reverse", "terminal", "weighting", "gradient_clip", "regulariser"])
def test_options_have_ranges(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        NablaDBOptions(**{name: -1.0})
    for name, largest in (("beta_warmup", 1.0), ("weighting", 2.0)):
        with pytest.raises(ValueError, match=name):
            NablaDBOptions(**{name: largest + 0.5})
