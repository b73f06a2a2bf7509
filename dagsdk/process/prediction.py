"""From the output of a network to the pair (x̂_0, ε̂), whatever the network predicts."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "velocity"]
"""What a network predicts, by the names of diffusers; "velocity" is that of rectified flow."""


def denoise(kind: Prediction, output: Tensor, x_t: Tensor, alpha_t: Tensor, sigma_t: Tensor) -> tuple[Tensor, Tensor]:
    """The clean state and the noise that a network's output implies, given x_t = α x_0 + σ ε.

    kind: "epsilon": ε;  "sample": x_0;  "v_prediction": α ε - σ x_0 (arXiv 2202.00512, appendix D);
        "velocity": ε - x_0 (rectified flow, arXiv 2209.03003).
    output: the network's output, shape of x_t.
    x_t: state, shape (b, ...).
    alpha_t, sigma_t: shape (b,), or any shape that broadcasts once padded with axes on the right.
    returns: x̂_0 and ε̂, shape of x_t, float32 or wider.

    Where the state has no information about one of the two (ε at σ = 0, x_0 at α = 0), that one is 0, the mean of its
    prior, and not infinite. Raises ValueError for an unknown kind.
    """
    x_t, output = widen(x_t), widen(output)
    alpha, sigma = align(alpha_t, x_t), align(sigma_t, x_t)
    match kind:
        case "epsilon":
            return _divide(x_t - sigma * output, alpha), output
        case "sample":
            return output, _divide(x_t - alpha * output, sigma)
        case "v_prediction":
            # α x_t - σ v = (α² + σ²) x_0; the sum is 1 on a variance-preserving path
            norm = alpha.square() + sigma.square()
            return (alpha * x_t - sigma * output) / norm, (sigma * x_t + alpha * output) / norm
        case "velocity":
            # x_t - σ v = (α + σ) x_0; the sum is 1 on a rectified flow
            norm = alpha + sigma
            return (x_t - sigma * output) / norm, (x_t + alpha * output) / norm
        case _:
            raise ValueError(
                f"prediction type {kind!r} is unknown; it must be one of {', '.join(get_args(Prediction))}: "
                "check prediction_type in the model's scheduler configuration"
            )


def network_target(kind: Prediction, x_0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What a network of this kind should predict at x_t = α x_0 + σ ε: the inverse of `denoise`.

    x_0, noise: shape (b, ...). alpha, sigma: shape (b,). returns: shape of x_0, float32 or wider.
    """
    x_0, noise = widen(x_0), widen(noise)
    match kind:
        case "epsilon":
            return noise
        case "sample":
            return x_0
        case "v_prediction":
            return align(alpha, noise) * noise - align(sigma, x_0) * x_0
        case "velocity":
            return noise - x_0


def widen(x: Tensor) -> Tensor:
    """x in float32 or wider: half precision has too few digits for the densities of small steps."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def align(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of shape (b,), in a shape and dtype that multiplies states x of shape (b, ...)."""
    padding = (1,) * (x.ndim - coefficient.ndim)
    return coefficient.to(x.dtype).reshape(*coefficient.shape, *padding)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    # the inner `where` keeps 0 · ∞ out of the gradient
    zero = denominator == 0
    return torch.where(zero, 0, numerator / torch.where(zero, 1, denominator))
