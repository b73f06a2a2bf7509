"""Residual ∇-DB (arXiv 2412.07775, section 3): detailed balance relative to the model before training, in gradients.

Both policies are to be balanced under the same noising kernel. With F̃ = F / F_ref the difference of their balances is

    log F̃(x_t) + log p_F(x_t'|x_t) - log p_ref(x_t'|x_t) - log F̃(x_t') = 0,   F̃(x_0) = exp(β r(x_0)).

Its gradients in x_t' and in x_t are two equations without a normaliser, in which the flow itself never appears:

    ∇ log F̃(x_t) = R(x_t) + g_φ(x_t, t, c),   R(x_t) = β ᾱ_t ∇_{x_t} r(decode(x̂_0(x_t)), c).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk import Loss, Signals, Stateless, Trajectories, Transitions
from dagsdk.objectives.toolbox import beta_at
from dagsdk_nabla.options import NablaDBOptions


class NablaDB(Stateless):
    """`nabla-db`. Squares are means over the latent's dimensions, so a loss does not grow with the latent."""

    def __init__(self, options: NablaDBOptions | None = None) -> None:
        self.options = options or NablaDBOptions()

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        # β is the signal of every transition, since a loss sees nothing else of what was prepared
        return Signals(beta=beta, values=torch.full_like(trajectories.rewards, beta), metrics={"beta": beta})

    def loss(self, batch: Transitions, /) -> Loss:
        options, last, scores, reward = self.options, batch.is_last, batch.scores, batch.reward_gradient
        # at the end the flow is the reward itself: ᾱ is for the states before it, whose x̂_0 is a guess
        pull = self._pull(batch, torch.where(last, 1.0, reward.alpha_bar_next), reward.next)
        # s_θ(x') - s_ref(x') - R(x') - g_φ(x'), and without g_φ at the end
        moved = scores.next - scores.next_reference
        forward = moved - pull
        weight = _posterior_variance(reward.alpha_bar, reward.alpha_bar_next) ** options.weighting
        losses: dict[str, Tensor] = {}
        if options.reverse:
            g_next = batch.flow_gradient.next
            forward = forward - _rows(~last, g_next) * g_next
            losses["reverse"] = options.reverse * weight * self._reverse(batch)
            losses["terminal"] = options.terminal * weight * last * _square(g_next)
        losses["forward"] = weight * _square(forward)
        if options.regulariser:
            losses["regulariser"] = options.regulariser * batch.old_output.gap
        metrics = {name: values.detach() for name, values in losses.items()}
        metrics["pull"], metrics["moved"] = (_square(each.detach()).sqrt() for each in (pull, moved))
        return Loss(values=torch.stack(list(losses.values())).sum(0), metrics=metrics)

    def _reverse(self, batch: Transitions) -> Tensor:
        """‖sg[∇_x log p_F(x'|x)] - ∇_x log p_ref(x'|x) + g_φ(x) + R(x)‖², shape (n,): trains g_φ alone."""
        scores, reward = batch.backward_scores, batch.reward_gradient
        pull = self._pull(batch, reward.alpha_bar, reward.here)
        return _square(scores.here.detach() - scores.here_reference + batch.flow_gradient.here + pull)

    def _pull(self, batch: Transitions, alpha_bar: Tensor, gradient: Tensor) -> Tensor:
        """R = β ᾱ ∇ r, shape (n, *latent). alpha_bar: shape (n,). gradient: ∇ r, shape (n, *latent)."""
        if limit := self.options.gradient_clip:
            norm = gradient.flatten(1).norm(dim=1)
            alpha_bar = alpha_bar * (limit / norm.clamp(min=limit))
        return _rows(batch.signal * alpha_bar, gradient) * gradient


def _posterior_variance(alpha_bar: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """τ² = (1 - ᾱ') / (1 - ᾱ) · (1 - ᾱ / ᾱ'), the variance of x_t' given x_t and x_0 on a variance-preserving path."""
    return (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(n,) → (n, 1, ...), to be multiplied with states."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _square(states: Tensor) -> Tensor:
    """Mean over the latent's dimensions of the square: (n, *latent) → (n,)."""
    return states.square().flatten(1).mean(1)
