"""Sub-trajectory balance, SubTB(λ) (arXiv 2209.12782, section 3), transition by transition.

The residual of the piece of a trajectory from state m to state n > m is a sum of residuals of detailed balance,

    A_mn = log F(x_m) + Σ_{k=m}^{n-1} (log p_F - log p_B)(k) - log F(x_n) = Σ_{k=m}^{n-1} δ_k,

so the loss of a trajectory, over all of its pieces, is a quadratic form of the δ:

    L = Σ_{m<n} w_mn A_mn² = δᵀ M δ,   w_mn = λ^(n-m) / Σ λ^(n-m),   M_kl = Σ_{m ≤ min(k,l), n > max(k,l)} w_mn.

Its gradient is ∇L = Σ_k 2 (M δ)_k ∇δ_k, the gradient of the mean over a trajectory's T transitions of
2 T (M δ)_k δ_k with the factor held constant. No graph spans two steps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dagsdk import Loss, Signals, Stateless, Trajectories, Transitions
from dagsdk.objectives.toolbox import beta_at, residual
from dagsdk_gfn.options import SubTrajectoryBalanceOptions


def pieces(steps: int, lam: float) -> Tensor:
    """M, shape (T, T), float64: symmetric; for λ → 0 the identity over T, for λ → ∞ all ones."""
    begin, end = torch.arange(steps)[:, None], torch.arange(1, steps + 1)[None]
    length = (end - begin).double()
    weights = torch.where(length > 0, length * math.log(lam), -torch.inf)
    weights = weights.flatten().softmax(0).view(steps, steps)  # w_mn at [m, n - 1]
    covering = weights.cumsum(0).flip(1).cumsum(1).flip(1)  # at [i, j]: m ≤ i, n > j
    k = torch.arange(steps)
    return covering[torch.minimum(k[:, None], k), torch.maximum(k[:, None], k)]


class SubTrajectoryBalance(Stateless):
    """`subtb`. The gradient is that of L where an epoch is one update and one pass; later updates use the epoch's δ."""

    def __init__(self, options: SubTrajectoryBalanceOptions | None = None) -> None:
        self.options = options or SubTrajectoryBalanceOptions()

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        log_flow = trajectories.state_flow.network + beta * trajectories.state_flow.potential
        delta = log_flow[:, :-1] + trajectories.log_pf_old - log_flow[:, 1:] - trajectories.log_pb
        weighted = delta @ pieces(trajectories.steps, options.lam).to(delta)  # M is symmetric
        metrics = {"beta": beta, "subtrajectory": float((weighted * delta).sum(1).mean())}
        return Signals(beta=beta, values=2 * trajectories.steps * weighted, metrics=metrics)

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf)
        return Loss(values=batch.signal * delta, metrics={"residual": delta.detach()})
