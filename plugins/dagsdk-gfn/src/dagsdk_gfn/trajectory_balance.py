"""Trajectory balance in its log-variance form (arXiv 2201.13259, 2302.05446), transition by transition.

The residual of a trajectory is d = log p(x_T) + Σ log p_F - Σ log p_B - β r(x_0), which is -log Z for every trajectory
exactly where p_F samples p(x_0) = exp(β r(x_0)) / Z. The loss is the variance of d over trajectories that share Z:

    L = 1/b Σ_i (d_i - d̄_i)²,  d̄_i the mean of d over the group of i.

Centred residuals sum to 0 in a group, so d̄ contributes nothing to the gradient:

    ∇L = 1/b Σ_i 2 (d_i - d̄_i) Σ_k ∇log p_F(i, k) = 1/(b T) Σ_i Σ_k 2 T (d_i - d̄_i) ∇log p_F(i, k),

the gradient of the mean over all transitions of w_i log p_F(i, k) with the constant w_i = 2 T (d_i - d̄_i). No graph
spans two steps.
"""

from __future__ import annotations

from torch import Tensor

from dagsdk import Loss, Signals, Stateless, Trajectories, Transitions
from dagsdk.objectives.toolbox import beta_at, group_means
from dagsdk_gfn.groups import prompt_groups
from dagsdk_gfn.options import TrajectoryBalanceOptions


class TrajectoryBalance(Stateless):
    """`tb`. The gradient is that of L where an epoch is one update and one pass; later updates use the epoch's d."""

    def __init__(self, options: TrajectoryBalanceOptions | None = None) -> None:
        self.options = options or TrajectoryBalanceOptions()

    def residual(self, trajectories: Trajectories, beta: float) -> Tensor:
        """d = log p(x_T) + Σ log p_F - Σ log p_B - β r(x_0), shape (b,), float32."""
        paths = (trajectories.log_pf_old - trajectories.log_pb).sum(1)
        return trajectories.log_prior + paths - beta * trajectories.rewards

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        d = self.residual(trajectories, beta)
        centred = d - (d.mean() if options.group == "epoch" else group_means(d, prompt_groups(trajectories)))
        metrics = {"beta": beta, "log_z": float(-d.mean()), "residual_variance": float(centred.square().mean())}
        if options.residual_clip:
            metrics["clipped"] = float((centred.abs() > options.residual_clip).float().mean())
            centred = centred.clamp(-options.residual_clip, options.residual_clip)
        return Signals(beta=beta, values=2 * trajectories.steps * centred, metrics=metrics)

    def loss(self, batch: Transitions, /) -> Loss:
        return Loss(values=batch.signal * batch.log_pf)


class RelativeTrajectoryBalance(TrajectoryBalance):
    """`relative-tb` (arXiv 2405.20971): the model before training takes the place of noising kernel and prior."""

    def residual(self, trajectories: Trajectories, beta: float) -> Tensor:
        """d = Σ log p_F - Σ log p_ref - β r(x_0), shape (b,), float32."""
        paths = (trajectories.log_pf_old - trajectories.reference.log_pf).sum(1)
        return paths - beta * trajectories.rewards
