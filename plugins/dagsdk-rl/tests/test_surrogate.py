from __future__ import annotations

import pytest
import torch
from attrs import evolve

from dagsdk.errors import TrainingError
from dagsdk_rl.surrogate import policy_loss


def _batch(dagsdk_transitions, ratios: list[float], advantages: list[float]):
    ratio = torch.tensor(ratios)
    zeros = torch.zeros(len(ratios))
    return evolve(
        dagsdk_transitions(n=len(ratios)),
        log_pf=ratio.log().requires_grad_(),
        log_pf_old=zeros,
        signal=torch.tensor(advantages),
    )


def test_five_transitions_by_hand(dagsdk_transitions) -> None:
    # clip_range 0.2. In turn: unmoved; A > 0 beyond the range; A > 0 below it; A < 0 beyond it; A < 0 below it.
    batch = _batch(dagsdk_transitions, [1.0, 1.5, 0.5, 1.5, 0.5], [2.0, 2.0, 2.0, -2.0, -2.0])
    values, metrics = policy_loss(batch, 0.2)
    assert torch.allclose(values, torch.tensor([-2.0, -2.4, -1.0, 3.0, 1.6]))
    assert metrics["clipped"].tolist() == [0, 1, 1, 1, 1]
    up, down = 0.405465, 0.693147  # log 1.5, log 2
    assert torch.allclose(metrics["ratio_gap"], torch.tensor([0.0, up, down, up, down]))
    # d(-A ρ)/d log p_F = -A ρ where the ratio is not clipped away, else 0
    (gradient,) = torch.autograd.grad(values.sum(), batch.log_pf)
    assert torch.allclose(gradient, torch.tensor([-2.0, 0.0, -1.0, 3.0, 0.0]))


@pytest.mark.parametrize("advantage", [5.0, 0.0, -5.0])
@pytest.mark.parametrize("moved", [-1e4, -100.0, 100.0, 1e4])
def test_no_distance_overflows(dagsdk_transitions, advantage: float, moved: float) -> None:
    batch = _batch(dagsdk_transitions, [1.0], [advantage])
    batch = evolve(batch, log_pf=torch.tensor([moved]).requires_grad_())
    values, metrics = policy_loss(batch, 1e-4)
    (gradient,) = torch.autograd.grad(values.sum(), batch.log_pf)
    assert values.isfinite().all() and gradient.isfinite().all()
    assert all(metric.isfinite().all() for metric in metrics.values())


def test_without_the_old_log_density_it_says_what_is_missing(dagsdk_transitions) -> None:
    with pytest.raises(TrainingError, match="log_pf_old"):
        policy_loss(dagsdk_transitions(needs=()), 0.1)
