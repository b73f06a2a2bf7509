"""Residual ∇-DB (arXiv 2412.07775, section 3): detailed balance relative to the model before training, in gradients.

Both policies are to be balanced under the same noising kernel. With F̃ = F / F_ref the difference of the two is

    log F̃(x_t) + log p_F(x_t'|x_t) - log p_ref(x_t'|x_t) - log F̃(x_t') = 0,   F̃(x_0) = exp(β r(x_0)).

Its gradients in x_t' and in x_t are two equations without any normaliser, and the flow is never evaluated itself:

    ∇ log F̃(x_t) = R(x_t) + g_φ(x_t, t, c),   R(x_t) = β ᾱ_t ∇_{x_t} r(decode(x̂_0(x_t)), c).
"""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.objectives.beta import beta_at
from dagsdk.objectives.detailed_balance import required
from dagsdk.objectives.protocol import Loss, Signals, Trajectories, Transitions
from dagsdk.objectives.stateless import Stateless
from dagsdk_nabla.options import NEEDS, NablaDBOptions, unneeded


class NablaDB(Stateless):
    """`nabla-db`. Squares are means over the latent's dimensions, so that a loss is a figure a dimension."""

    def __init__(self, options: NablaDBOptions | None = None) -> None:
        self.options = options or NablaDBOptions()
        self.needs = NEEDS - unneeded(self.options)

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        # each transition gets β as its signal, since a loss sees nothing else of what was prepared
        return Signals(beta=beta, values=torch.full_like(trajectories.scores, beta), metrics={"beta": beta})

    def loss(self, batch: Transitions, /) -> Loss:
        options, last = self.options, batch.is_last
        level, level_next = (required(getattr(batch, name), name) for name in ("signal_level", "signal_level_next"))
        # the flow of the end is the reward itself: ᾱ is for the states on the way, whose x̂_0 is a guess
        pull = self._pull(batch, torch.where(last, 1.0, level_next), "reward_gradient_next")
        # s_θ(x') - s_ref(x') - g_φ(x') - R(x'), and without g_φ at the end
        moved = required(batch.score_next, "score_next") - required(batch.score_next_reference, "score_next_reference")
        forward = moved - pull
        # τ² = (1 - ᾱ') / (1 - ᾱ) · (1 - ᾱ / ᾱ'), that of a variance-preserving path
        weight = ((1 - level_next) / (1 - level) * (1 - level / level_next)) ** options.weighting
        losses: dict[str, Tensor] = {}
        if options.reverse:
            residual_next = required(batch.residual_next, "residual_next")
            forward = forward - _rows(~last, residual_next) * residual_next
            losses["reverse"] = options.reverse * weight * self._reverse(batch, level)
            losses["terminal"] = options.terminal * weight * last * _square(residual_next)
        losses["forward"] = weight * _square(forward)
        if options.regulariser:
            losses["regulariser"] = options.regulariser * required(batch.output_gap, "output_gap")
        metrics = {name: values.detach() for name, values in losses.items()}
        metrics["pull"], metrics["moved"] = (_square(each.detach()).sqrt() for each in (pull, moved))
        return Loss(values=torch.stack(list(losses.values())).sum(0), metrics=metrics)

    def _reverse(self, batch: Transitions, level: Tensor) -> Tensor:
        """‖sg[∇_x log p_F(x'|x)] - ∇_x log p_ref(x'|x) + g_φ(x) + R(x)‖², shape (n,): g_φ alone learns from it."""
        pull = self._pull(batch, level, "reward_gradient")
        moved = required(batch.score, "score").detach() - required(batch.score_reference, "score_reference")
        return _square(moved + required(batch.residual, "residual") + pull)

    def _pull(self, batch: Transitions, level: Tensor, name: str) -> Tensor:
        """R = β ᾱ ∇ r, shape (n, *latent), of the states whose gradient has this name."""
        gradient = required(getattr(batch, name), name)
        if limit := self.options.gradient_clip:
            norm = gradient.flatten(1).norm(dim=1)
            level = level * (limit / norm.clamp(min=limit))
        return _rows(batch.signal * level, gradient) * gradient


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(n,) → (n, 1, ...), to be multiplied with states."""
    return values.view(-1, *(1,) * (like.ndim - 1))


def _square(states: Tensor) -> Tensor:
    """Mean over the latent's dimensions of the square: (n, *latent) → (n,)."""
    return states.square().flatten(1).mean(1)
