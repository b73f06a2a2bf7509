"""The policy loss that DDPO and GRPO share, safe at any distance from the policy that sampled."""

from __future__ import annotations

from torch import Tensor

from dagsdk.objectives.detailed_balance import required
from dagsdk.objectives.kl import clipped_surrogate
from dagsdk.objectives.protocol import Transitions

LARGEST = 60.0
"""Where log ρ is cut off: exp(60) is 1e26, far from what float32 holds. Beyond it a transition has no gradient."""


def policy_loss(batch: Transitions, clip_range: float) -> tuple[Tensor, dict[str, Tensor]]:
    """max(-A ρ, -A clip(ρ, 1 ± c)), shape (n,), with A the batch's signal and ρ = exp(log p_F - log p_F at sampling).

    Beside it two metrics of shape (n,): "ratio_gap", |log ρ|, and "clipped", 1 where ρ is out of its range.
    """
    log_ratio = batch.log_pf - required(batch.log_pf_old, "log_pf_old")
    bounded = log_ratio.clamp(max=LARGEST)
    values = clipped_surrogate(batch.signal, bounded, clip_range)
    away = (bounded.detach().exp() - 1).abs()
    return values, {"ratio_gap": log_ratio.detach().abs(), "clipped": (away > clip_range).float()}
