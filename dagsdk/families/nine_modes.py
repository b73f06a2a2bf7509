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
