"""A target in the plane whose density, samples and bin masses are known exactly: nine Gaussians of unequal weight."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

SCALE, SPACING = 0.3, 1.5
WEIGHTS = torch.tensor([1.0, 2, 1, 2, 4, 2, 1, 2, 1]) / 16
"""Of the modes, row by row: shape (9,)."""
CENTRES = torch.cartesian_prod(*[torch.tensor([-SPACING, 0.0, SPACING])] * 2)
"""Shape (9, 2)."""

EDGE, BINS = 3.0, 30
EDGES = torch.linspace(-EDGE, EDGE, BINS + 1, dtype=torch.float64)

Density = Callable[[Tensor], Tensor]


def mixture_log_density(weights: Tensor, scale: float) -> Density:
    """x, shape (n, 2) → log Σ_m w_m N(x; c_m, scale² I), shape (n,)."""
    offsets = weights.log() - 2 * math.log(scale) - math.log(2 * math.pi)

    def log_density(x: Tensor) -> Tensor:
        squares = (x[:, None] - CENTRES.to(x)).square().sum(-1)
        return torch.logsumexp(offsets.to(x) - squares / (2 * scale**2), 1)

    return log_density


log_density = mixture_log_density(WEIGHTS, SCALE)
"""Of the target, normalised."""

log_prior_density = mixture_log_density(torch.full((9,), 1 / 9), 0.4)
"""Of the points that `vector` is pretrained on (`dagsdk.families.nine_modes`)."""


def log_ratio(x: Tensor) -> Tensor:
    """log target - log prior, shape (n,)."""
    return log_density(x) - log_prior_density(x)


def exact_samples(count: int, seed: int) -> Tensor:
    """Shape (count, 2), float32."""
    generator = torch.Generator().manual_seed(seed)
    modes = torch.multinomial(WEIGHTS, count, replacement=True, generator=generator)
    return CENTRES[modes] + SCALE * torch.randn(count, 2, generator=generator)


def exact_masses() -> Tensor:
    """Of the bins of [-3, 3]², then of all that is outside: shape (901,), float64; they sum to 1."""
    cumulative = torch.special.ndtr((EDGES[None] - CENTRES.unique().double()[:, None]) / SCALE)
    inside = cumulative.diff(dim=1)  # (3, 30): of a line's three modes
    masses = torch.einsum("ij,ia,jb->ab", WEIGHTS.double().view(3, 3), inside, inside).flatten()
    return torch.cat([masses, 1 - masses.sum(0, keepdim=True)])


def sampled_masses(samples: Tensor, weights: Tensor | None = None) -> Tensor:
    """The same of samples, shape (n, 2), each counted by its weight: shape (901,), float64."""
    weights = torch.ones(len(samples), dtype=torch.float64) if weights is None else weights.double()
    cells = torch.bucketize(samples.double(), EDGES, right=True) - 1
    inside = ((cells >= 0) & (cells < BINS)).all(1)
    index = torch.where(inside, cells[:, 0] * BINS + cells[:, 1], BINS**2)
    return torch.zeros(BINS**2 + 1, dtype=torch.float64).index_add(0, index, weights) / weights.sum()


def total_variation(masses: Tensor, others: Tensor) -> float:
    """½ Σ |p - q|, in [0, 1]."""
    return float((masses - others).abs().sum() / 2)


def mode_weights(samples: Tensor, weights: Tensor | None = None) -> Tensor:
    """The share of samples, each counted by its weight, that are nearest to each centre: shape (9,)."""
    weights = torch.ones(len(samples)) if weights is None else weights
    nearest = torch.cdist(samples, CENTRES).argmin(1)
    return torch.zeros(9).index_add(0, nearest, weights) / weights.sum()
