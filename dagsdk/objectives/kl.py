"""DAG-KL: KL(p_F F ‖ p_B F') with a REINFORCE-style gradient (arXiv 2406.00633, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.objectives.detailed_balance import FlowObjective, required, residual
from dagsdk.objectives.options import DAG_KL_NEEDS, KLOptions
from dagsdk.objectives.protocol import Loss, Transitions


def leave_one_out(values: Tensor) -> Tensor:
    """Each value less the mean of the others, over the root mean square of the others' so centred; shape (n,).

    c_i = v_i - mean_{j≠i} v_j,  result c_i / (sqrt(mean_{j≠i} c_j²) + 1e-8), as in the paper's code.
    Two values have no spread beside their difference and one has no others: then the scale, or both, is left out.
    """
    n = len(values)
    if n < 2:
        return values
    centred = (values - values.mean()) * (n / (n - 1))
    if n < 3:
        return centred
    squares = centred.square()
    return centred / (((squares.sum() - squares) / (n - 1)).sqrt() + 1e-8)


def clipped_surrogate(advantage: Tensor, log_ratio: Tensor, clip_range: float) -> Tensor:
    """PPO's max(-A ρ, -A clip(ρ, 1 ± c)) with ρ = exp(log_ratio), shape (n,) (arXiv 1707.06347)."""
    ratio = log_ratio.exp()
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1 - clip_range, 1 + clip_range))


class KL(FlowObjective):
    """Flow loss δ² with the policy held fixed, plus κ times a clipped policy loss."""

    def __init__(self, options: KLOptions | None = None) -> None:
        self.kl = options or KLOptions()
        super().__init__(self.kl, DAG_KL_NEEDS)

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf.detach(), self.options.next_flow_gradient)
        # A = sg[log F(x_t') + log p_B - log p_F - log F(x_t)], the negative residual.
        advantage = leave_one_out(-delta.detach()).clamp(-self.kl.advantage_clip, self.kl.advantage_clip)
        log_ratio = batch.log_pf - required(batch.log_pf_old, "log_pf_old")
        policy = clipped_surrogate(advantage, log_ratio, self.kl.clip_range)
        metrics = {
            "residual": delta.detach(),
            "ratio_gap": log_ratio.detach().abs(),
            "clipped": ((log_ratio.detach().exp() - 1).abs() > self.kl.clip_range).float(),
        }
        return self.regularised(delta**2 + self.kl.kappa * policy, metrics, batch)
