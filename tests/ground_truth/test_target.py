"""The yardstick itself: density, samples and bin masses of a target agree."""

from __future__ import annotations

import math

import pytest
import torch
from target import BINS, EDGE, EDGES, TARGETS, Target, fine_grid, sampled_masses, total_variation
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, VonMises

from dagsdk import BuildContext
from dagsdk.models.nine_modes import centres, nine_modes
from dagsdk.models.options import VectorOptions
from dagsdk.models.vector import Vector

NINE, RING = TARGETS["nine-modes"], TARGETS["ring"]
WEIGHTS = torch.tensor([1.0, 2, 1, 2, 4, 2, 1, 2, 1]) / 16

each = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def points(count: int = 500) -> torch.Tensor:
    return 2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def mixture(weights: torch.Tensor, scale: float, spread: float = 1.0) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(weights), Independent(Normal(spread * centres(), scale), 1))


def test_the_nine_modes_are_a_mixture() -> None:
    x = points()
    torch.testing.assert_close(NINE.log_density(x), mixture(WEIGHTS, 0.3).log_prob(x), rtol=1e-4, atol=1e-4)


def test_the_rings_radius_and_angle_are_independent() -> None:
    x = points()
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    polar = Normal(1.8, 0.25).log_prob(radius) + VonMises(torch.tensor(0.0), torch.tensor(0.8)).log_prob(angle)
    torch.testing.assert_close(RING.log_density(x), polar - radius.log(), rtol=1e-4, atol=1e-4)
    assert RING.log_density(torch.zeros(1, 2)).isfinite().all()


@each
def test_the_ratio_is_to_what_vector_is_pretrained_on(target: Target) -> None:
    """To its data where its path ends: their cross-entropy is lower than that of any wider or narrower mixture."""
    model = Vector.build(VectorOptions(pretrain=0), BuildContext())
    alpha, sigma = (level(torch.tensor([0])).item() for level in (model.path.alpha, model.path.sigma))
    generator = torch.Generator().manual_seed(0)
    x = nine_modes(50_000, generator)
    x = alpha * x + sigma * torch.randn(x.shape, generator=generator)
    log_prior = target.log_density(x) - target.log_ratio(x)
    scale = math.hypot(0.4 * alpha, sigma)
    torch.testing.assert_close(log_prior, mixture(torch.ones(9), scale, alpha).log_prob(x), rtol=1e-4, atol=1e-4)
    assert log_prior.mean() > max(mixture(torch.ones(9), scale + d, alpha).log_prob(x).mean() for d in (-0.01, 0.01))


@each
def test_densities_integrate_to_one(target: Target) -> None:
    masses = target.exact_masses()
    assert float(masses[:-1].sum()) == pytest.approx(1, abs=1e-4)
    assert float(masses.sum()) == pytest.approx(1, abs=1e-4) and bool((masses >= 0).all())


def test_masses_of_the_nine_modes_in_closed_form() -> None:
    line = centres()[:3, 1].double()
    inside = torch.special.ndtr((EDGES[None] - line[:, None]) / 0.3).diff(dim=1)  # (3, 30): of a line's three modes
    exact = torch.einsum("ij,ia,jb->ab", WEIGHTS.double().view(3, 3), inside, inside).flatten()
    torch.testing.assert_close(NINE.exact_masses()[:-1], exact, rtol=1e-3, atol=1e-9)


def test_weights_of_parts_in_closed_form() -> None:
    borders = torch.tensor([-math.inf, -0.75, 0.75, math.inf])
    squares = torch.special.ndtr((borders - centres()[:3, 1:]) / 0.3).diff(dim=1)  # (3, 3): modes of a line by part
    nearest = torch.einsum("ij,ia,jb->ab", WEIGHTS.view(3, 3), squares, squares).flatten()
    torch.testing.assert_close(NINE.exact_weights(), nearest, rtol=0, atol=1e-3)
    angle = torch.linspace(-math.pi / 8, math.pi / 8, 1001, dtype=torch.float64)
    lean = [torch.trapezoid((0.8 * (angle + k * math.pi / 4).cos()).exp(), angle) for k in range(8)]
    sectors = torch.stack(lean) / torch.stack(lean).sum()
    torch.testing.assert_close(RING.exact_weights(), sectors.float(), rtol=0, atol=1e-3)


@each
def test_exact_samples_come_as_near_as_their_number_allows(target: Target) -> None:
    """A few hundredths for 20 000 samples in 900 bins, and it falls with the square root of their number."""
    samples = [target.exact_samples(n, seed=1) for n in (20_000, 80_000)]
    near, nearer = (total_variation(sampled_masses(x), target.exact_masses()) for x in samples)
    assert 0.04 < near < 0.07
    assert nearer == pytest.approx(near / 2, rel=0.1)
    torch.testing.assert_close(target.weights(samples[1]), target.exact_weights(), rtol=0, atol=0.01)
    assert torch.equal(target.exact_samples(100, seed=1), target.exact_samples(100, seed=1))


@each
def test_counted_samples_are_those_of_another_density(target: Target) -> None:
    """Samples of the pretraining data, each counted by the ratio, are as good as samples of the target."""
    grid = fine_grid()[::7].contiguous()
    prior = (target.log_density(grid) - target.log_ratio(grid)).exp()
    counts = prior * target.log_ratio(grid).exp()
    assert total_variation(sampled_masses(grid, counts), target.exact_masses()) < 0.02
    torch.testing.assert_close(target.weights(grid, counts), target.exact_weights(), rtol=0, atol=0.01)


def test_samples_go_to_their_bins() -> None:
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    grid = torch.cartesian_prod(middles, middles).float()
    torch.testing.assert_close(sampled_masses(grid)[:-1], torch.full((BINS**2,), 1 / BINS**2).double())
    masses = sampled_masses(torch.tensor([[-EDGE - 0.5, 0], [0, EDGE + 0.5], [9, 9], [2.95, -2.95]]))
    assert masses[-1] == 0.75 and masses[(BINS - 1) * BINS] == 0.25


def test_samples_go_to_their_parts() -> None:
    assert NINE.part_of(centres() + 0.3).tolist() == list(range(9))
    turns = torch.arange(8) * math.pi / 4 + 0.3
    assert RING.part_of(torch.stack([turns.cos(), turns.sin()], 1)).tolist() == list(range(8))


def test_total_variation_by_hand() -> None:
    assert total_variation(torch.tensor([0.5, 0.5, 0]), torch.tensor([0.25, 0.25, 0.5])) == pytest.approx(0.5)
    far = sampled_masses(torch.full((10, 2), 99.0))
    assert total_variation(far, NINE.exact_masses()) == pytest.approx(1, abs=1e-4)
