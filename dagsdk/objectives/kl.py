"""DAG-KL: KL(p_F F ‖ p_B F') with a REINFORCE-style gradient (arXiv 2406.00633, section 3.2)."""

from __future__ import annotations

from dagsdk.objectives.detailed_balance import StateFlowObjective
from dagsdk.objectives.options import KLOptions
from dagsdk.objectives.protocol import Loss, Transitions
from dagsdk.objectives.toolbox import clipped_surrogate, leave_one_out, residual


class KL(StateFlowObjective):
    """State flow loss δ² with the policy held fixed, plus κ times a clipped policy loss."""

    def __init__(self, options: KLOptions | None = None) -> None:
        self.kl = options or KLOptions()
        super().__init__(self.kl)

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf.detach(), self.options.next_gradient)
        # A = sg[log F(x_t') + log p_B - log p_F - log F(x_t)], the negative residual.
        advantage = leave_one_out(-delta.detach()).clamp(-self.kl.advantage_clip, self.kl.advantage_clip)
        log_ratio = batch.log_pf - batch.old.log_pf
        policy = clipped_surrogate(advantage, log_ratio, self.kl.clip_range)
        metrics = {
            "residual": delta.detach(),
            "ratio_gap": log_ratio.detach().abs(),
            "clipped": ((log_ratio.detach().exp() - 1).abs() > self.kl.clip_range).float(),
        }
        return self.regularised(delta**2 + self.kl.kappa * policy, metrics, batch)
