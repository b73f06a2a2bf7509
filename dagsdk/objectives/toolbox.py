"""What objectives are built from: β's schedule, the residual, a clipped surrogate, and having no state.

Plugins may import it. Functions of tensors, without a network; no torch is loaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dagsdk.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.objectives.protocol import Transitions

LARGEST_LOG_RATIO = 60.0
"""Where log ρ is cut off: exp(60) is 1e26, far from what float32 holds. Beyond it a transition has no gradient."""


class Stateless:
    """An objective or rollout that remembers nothing: it gives an empty state, and takes no other."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Raises TrainingError for a state that is not empty."""
        if state:
            raise TrainingError(
                f"{type(self).__name__} has no state, but was given {sorted(state)} to restore; resume with the "
                "options that the run began with"
            )


def beta_at(beta: float, epoch: int, epochs: int, warmup: float) -> float:
    """β_e = β · min(1, e / (w E)): a linear rise over the share w of the E epochs, so β is 0 in epoch 0.

    With w = 0 it is β throughout. (arXiv 2406.00633; its code has w = 0.5.)
    """
    rise = warmup * epochs
    return beta if rise == 0 else beta * min(1.0, epoch / rise)


def residual(batch: Transitions, log_pf: Tensor, next_gradient: float = 1.0) -> Tensor:
    """δ = log F(x_t) + log p_F(x_t'|x_t) - log F(x_t') - log p_B(x_t|x_t'), shape (n,) (arXiv 2406.00633, section 3.1).

    batch: with STATE_FLOW.
    log_pf: shape (n,): `batch.log_pf`, or the same detached.
    next_gradient: share of its gradient that log F(x_t') receives, in [0, 1].
    """
    here, there = batch.state_flow.here, batch.state_flow.next
    if next_gradient != 1:
        there = there.detach().lerp(there, next_gradient)
    return here + log_pf - there - batch.log_pb


def clipped_surrogate(advantage: Tensor, log_ratio: Tensor, clip_range: float) -> Tensor:
    """PPO's max(-A ρ, -A clip(ρ, 1 ± c)) with ρ = exp(log_ratio), shape (n,) (arXiv 1707.06347)."""
    ratio = log_ratio.exp()
    return (-advantage * ratio).maximum(-advantage * ratio.clamp(1 - clip_range, 1 + clip_range))


def policy_loss(batch: Transitions, clip_range: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The clipped surrogate with A the batch's signal and ρ = exp(log p_F - log p_F at sampling), shape (n,).

    batch: with OLD. It is finite at any distance from the policy that sampled.
    Also returns two metrics of shape (n,): "ratio_gap", |log ρ|, and "clipped", 1 where ρ is out of its range.
    """
    log_ratio = batch.log_pf - batch.old.log_pf
    bounded = log_ratio.clamp(max=LARGEST_LOG_RATIO)
    values = clipped_surrogate(batch.signal, bounded, clip_range)
    away = (bounded.detach().exp() - 1).abs()
    return values, {"ratio_gap": log_ratio.detach().abs(), "clipped": (away > clip_range).float()}


def leave_one_out(values: Tensor) -> Tensor:
    """Each value less the mean of the others, over the root mean square of the others' so centred; shape (n,).

    c_i = v_i - mean_{j≠i} v_j,  result c_i / (sqrt(mean_{j≠i} c_j²) + 1e-8), as in the code of arXiv 2406.00633.
    Two values have no spread but their difference, and one has no others: then the scale, or both, is left out.
    """
    n = len(values)
    if n < 2:
        return values
    centred = (values - values.mean()) * (n / (n - 1))
    if n < 3:
        return centred
    squares = centred.square()
    return centred / (((squares.sum() - squares) / (n - 1)).sqrt() + 1e-8)


def group_means(values: Tensor, group: Tensor) -> Tensor:
    """The mean over each row's group: shape (b,).

    values: shape (b,). group: shape (b,), int64: rows with the same number are one group.
    """
    _, index = group.unique(return_inverse=True)
    zeros = values.new_zeros(int(index.max()) + 1)
    sums, counts = zeros.index_add(0, index, values), zeros.index_add(0, index, values.new_ones(len(values)))
    return (sums / counts)[index]
