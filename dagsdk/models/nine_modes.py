"""Nine Gaussians on a 3 × 3 grid: the data set that vector models are pretrained on."""

from __future__ import annotations

import torch
from torch import Tensor

SPACING, SCALE = 1.5, 0.4
"""Distance of neighbouring modes, and the standard deviation of each."""


def centres() -> Tensor:
    """Centres of the modes, row by row: shape (9, 2)."""
    line = torch.tensor([-SPACING, 0.0, SPACING])
    return torch.cartesian_prod(line, line)


def nine_modes(count: int, generator: torch.Generator) -> Tensor:
    """Samples of the mixture with equal weights: shape (count, 2), float32."""
    modes = torch.randint(9, (count,), generator=generator)
    return centres()[modes] + SCALE * torch.randn(count, 2, generator=generator)


def expected_noise(x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[ε | x_t] where x_t = α x_0 + σ ε and x_0 is of that mixture.

    x_t: shape (n, 2), as is the result. alpha, sigma: shape (n,).
    """
    alpha, sigma = alpha[:, None], sigma[:, None]
    variance = (alpha * SCALE) ** 2 + sigma**2  # of x_t about each mode
    offsets = x_t[:, None] - alpha[..., None] * centres().to(x_t)
    weights = (-offsets.square().sum(-1) / (2 * variance)).softmax(1)
    return sigma / variance * (weights[..., None] * offsets).sum(1)
