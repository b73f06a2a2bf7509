"""Targets in the plane whose densities are known: their samples, the masses of bins, the weights of their parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

from dagsdk import BuildContext
from dagsdk.models.nine_modes import centres
from dagsdk.plugins import load_file

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "ground_truth_rewards.py"
EDGE, BINS, FINER = 3.0, 30, 20
EDGES = torch.linspace(-EDGE, EDGE, BINS + 1, dtype=torch.float64)


def fine_grid() -> Tensor:
    """The middles of 20 × 20 squares in each bin: shape (360 000, 2), float64, row by row."""
    line = torch.linspace(-EDGE, EDGE, FINER * BINS + 1, dtype=torch.float64)
    return torch.cartesian_prod(*[(line[1:] + line[:-1]) / 2] * 2)


@cache
def reward(target: str, relative: bool) -> Callable[..., Tensor]:
    """The reward as a run has it: points, shape (n, 2), and prompts to rewards, shape (n,)."""
    [spec] = load_file(EXAMPLE).provides["rewards"]
    return spec.make(spec.options(target=target, relative=relative), BuildContext())


@frozen(eq=False)
class Target:
    """name: of the reward's option `target`.

    part_of: points, shape (n, 2), to the number of the part that each belongs to, shape (n,).
    parts: how many there are.
    """

    name: str
    part_of: Callable[[Tensor], Tensor]
    parts: int

    def log_density(self, x: Tensor) -> Tensor:
        """Of points, shape (n, 2): shape (n,)."""
        return reward(self.name, relative=False)(x, [])

    def log_ratio(self, x: Tensor) -> Tensor:
        """log target - log density of the pretraining data, shape (n,)."""
        return reward(self.name, relative=True)(x, [])

    def exact_samples(self, count: int, seed: int) -> Tensor:
        """Shape (count, 2), float32: by rejection from the square, outside of which lies less than 1e-5."""
        generator = torch.Generator().manual_seed(seed)
        highest, kept = float(self.log_density(fine_grid()).max()) + 0.01, torch.zeros(0, 2)
        while len(kept) < count:
            x = EDGE * (2 * torch.rand(200_000, 2, generator=generator) - 1)
            accepted = torch.rand(len(x), generator=generator).log() < self.log_density(x) - highest
            kept = torch.cat([kept, x[accepted]])
        return kept[:count]

    def exact_masses(self) -> Tensor:
        """Of the bins of [-3, 3]², then of all that is outside, by the midpoint rule: shape (901,), float64."""
        side = 2 * EDGE / (BINS * FINER)
        density = self.log_density(fine_grid()).exp().view(BINS, FINER, BINS, FINER)
        masses = density.sum((1, 3)).flatten() * side**2
        return torch.cat([masses, (1 - masses.sum(0, keepdim=True)).clamp(min=0)])

    def exact_weights(self) -> Tensor:
        """Of the parts: shape (parts,), float32."""
        grid = fine_grid()
        return self.weights(grid, self.log_density(grid).exp())

    def weights(self, samples: Tensor, counts: Tensor | None = None) -> Tensor:
        """The share of samples, each counted by its number in `counts`, in each part: shape (parts,), float32."""
        counts = torch.ones(len(samples)) if counts is None else counts.float()
        return torch.zeros(self.parts).index_add(0, self.part_of(samples), counts) / counts.sum()


def nearest_mode(x: Tensor) -> Tensor:
    """Of the nine, row by row."""
    return torch.cdist(x.float(), centres()).argmin(1)


def sector(x: Tensor) -> Tensor:
    """Of the eight of 45°, the first of which is centred on the first axis; numbered anticlockwise."""
    angle = torch.atan2(x[:, 1], x[:, 0])
    return (angle / (math.pi / 4)).round().long() % 8


TARGETS = {t.name: t for t in (Target("nine-modes", nearest_mode, 9), Target("ring", sector, 8))}


def sampled_masses(samples: Tensor, counts: Tensor | None = None) -> Tensor:
    """The share of samples, shape (n, 2), each counted by its number, in bins as of `exact_masses`."""
    counts = torch.ones(len(samples), dtype=torch.float64) if counts is None else counts.double()
    cells = torch.bucketize(samples.double().contiguous(), EDGES, right=True) - 1
    inside = ((cells >= 0) & (cells < BINS)).all(1)
    index = torch.where(inside, cells[:, 0] * BINS + cells[:, 1], BINS**2)
    return torch.zeros(BINS**2 + 1, dtype=torch.float64).index_add(0, index, counts) / counts.sum()


def total_variation(masses: Tensor, others: Tensor) -> float:
    """½ Σ |p - q|, in [0, 1]."""
    return float((masses - others).abs().sum() / 2)
