"""Trajectory balance in its log-variance form (arXiv 2201.13259, 2302.05446), transition by transition.

Of a trajectory the residual is d = log p(x_T) + Σ log p_F - Σ log p_B - β r(x_0), which is -log Z for every trajectory
exactly where p_F samples p(x_0) = exp(β r(x_0)) / Z. The loss is the variance of d over trajectories that share Z:

    L = 1/b Σ_i (d_i - d̄_i)²,  d̄_i the mean of d over the group of i.

Centred residuals sum to 0 in a group, so that d̄ has no part in the gradient:

    ∇L = 1/b Σ_i 2 (d_i - d̄_i) Σ_k ∇log p_F(i, k) = 1/(b T) Σ_i Σ_k 2 T (d_i - d̄_i) ∇log p_F(i, k),

the gradient of the mean over all transitions of w_i log p_F(i, k) with the constant w_i = 2 T (d_i - d̄_i). No graph
spans two steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dagsdk.errors import TrainingError
from dagsdk.objectives.beta import beta_at
from dagsdk.objectives.protocol import Loss, Signals, Trajectories, Transitions
from dagsdk.objectives.stateless import Stateless
from dagsdk_gfn.options import RELATIVE_TB_NEEDS, TB_NEEDS, TrajectoryBalanceOptions, without_groups


class TrajectoryBalance(Stateless):
    """`tb`. The gradient is that of L where an epoch is one update and one pass; further ones see the epoch's d."""

    all_needs = TB_NEEDS

    def __init__(self, options: TrajectoryBalanceOptions | None = None) -> None:
        self.options = options or TrajectoryBalanceOptions()
        self.needs = self.all_needs - without_groups(self.options)

    def residual(self, trajectories: Trajectories, beta: float) -> Tensor:
        """d = log p(x_T) + Σ log p_F - Σ log p_B - β r(x_0), shape (b,), float32."""
        paths = (trajectories.log_pf_old - trajectories.log_pb).sum(1)
        return trajectories.log_prior + paths - beta * trajectories.scores

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        d = self.residual(trajectories, beta)
        centred = d - self._group_means(d, trajectories)
        metrics = {"beta": beta, "log_z": float(-d.mean()), "residual_variance": float(centred.square().mean())}
        if options.residual_clip:
            metrics["clipped"] = float((centred.abs() > options.residual_clip).float().mean())
            centred = centred.clamp(-options.residual_clip, options.residual_clip)
        return Signals(beta=beta, values=2 * trajectories.log_pf_old.shape[1] * centred, metrics=metrics)

    def loss(self, batch: Transitions, /) -> Loss:
        return Loss(values=batch.signal * batch.log_pf)

    def _group_means(self, d: Tensor, trajectories: Trajectories) -> Tensor:
        """The mean of d over each trajectory's group, shape (b,)."""
        if self.options.group == "epoch":
            return d.mean().expand_as(d)
        # Z belongs to the prompt, so that a prompt that an epoch has twice is one group
        numbers: dict[Any, int] = {}
        group = torch.tensor([numbers.setdefault(p, len(numbers)) for p in trajectories.prompts], device=d.device)
        if len(numbers) == len(d):
            raise TrainingError(
                'objective.group is "prompt", and every prompt of the epoch has one image, which leaves nothing to '
                'compare; set rollout.images_per_prompt >= 2, or objective.group = "epoch"'
            )
        zeros = d.new_zeros(len(numbers))
        sums, counts = zeros.index_add(0, group, d), zeros.index_add(0, group, torch.ones_like(d))
        return (sums / counts)[group]


class RelativeTrajectoryBalance(TrajectoryBalance):
    """`relative-tb` (arXiv 2405.20971): the model before training stands in place of noising and prior."""

    all_needs = RELATIVE_TB_NEEDS

    def residual(self, trajectories: Trajectories, beta: float) -> Tensor:
        """d = Σ log p_F - Σ log p_ref - β r(x_0), shape (b,), float32."""
        if trajectories.log_pf_reference is None:
            raise TrainingError("trajectories have no log_pf_reference; the engine must be asked for REFERENCE_PATH")
        return (trajectories.log_pf_old - trajectories.log_pf_reference).sum(1) - beta * trajectories.scores
