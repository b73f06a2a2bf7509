"""Reward-weighted likelihood on the forward process (arXiv 2302.12192, with exp(β r) as the weight).

The target is the model before training, tilted by the reward: p*(x_0) ∝ w(x_0) p_ref(x_0) with w = exp(β r). The
divergence KL(p* ‖ p_θ) is least where the weighted likelihood E_{p_ref}[w log p_θ] is largest. A diffusion model bounds
-log p_θ(x_0) by its denoising error ‖f_θ(x_t) - y‖², where y(x_0, ε) is what the network should give at
x_t = α x_0 + σ ε. So, with images of the reference, each noised afresh,

    L = E[ w(x_0) ‖f_θ(x_t) - y‖² ],   x_0 ~ p_ref.

The minimiser is E[w y | x_t] / E[w | x_t] at every x_t. Noise does not depend on w, so p*(x_0 | x_t) is proportional
to w(x_0) p_ref(x_0 | x_t), and the minimiser is E_{p*}[y | x_t], the denoiser of the target. That holds at every t, for
any positive weights of the times (here all the same). Nor does a constant factor of w matter; its mean over a group of
n images is 1:

    w_i = exp(β r_i) / mean_j exp(β r_j) = n softmax(β r)_i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk import Denoisings, Loss, Signals, Stateless, Trajectories
from dagsdk.objectives.toolbox import beta_at
from dagsdk_gfn.groups import prompt_groups
from dagsdk_gfn.options import RewardWeightedOptions


class RewardWeightedLikelihood(Stateless):
    """`rwr`. What it trains on must be images of the model before training (`samples="reference"`)."""

    def __init__(self, options: RewardWeightedOptions | None = None) -> None:
        self.options = options or RewardWeightedOptions()

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        tilt = beta * trajectories.rewards.double()
        w = mean_one(tilt, torch.zeros_like(tilt) if options.group == "epoch" else prompt_groups(trajectories))
        # effective sample size over the number of images: 1 / mean w², since the mean of w is 1
        metrics = {"beta": beta, "effective_share": float(1 / w.square().mean())}
        return Signals(beta=beta, values=w.to(trajectories.rewards.dtype), metrics=metrics)

    def loss(self, batch: Denoisings, /) -> Loss:
        error = (batch.output - batch.target).square().flatten(1).mean(1)
        return Loss(values=batch.signal * error, metrics={"denoising_error": error.detach()})


def mean_one(log_w: Tensor, group: Tensor) -> Tensor:
    """w = exp(log_w) / its mean over each group; shape (b,).

    log_w: shape (b,), of any size: the softmax subtracts the group's maximum before it takes the exponential.
    group: shape (b,): rows with the same number are one group.
    """
    w = torch.empty_like(log_w)
    for number in group.unique():
        rows = group == number
        w[rows] = log_w[rows].softmax(0) * rows.sum()
    return w
