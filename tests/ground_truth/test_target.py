"""The yardstick itself: density, samples and bin masses of the target tell the same story."""

from __future__ import annotations

import pytest
import torch
from target import (
    BINS,
    CENTRES,
    EDGES,
    SCALE,
    WEIGHTS,
    exact_masses,
    exact_samples,
    log_density,
    log_prior_density,
    mode_weights,
    sampled_masses,
    total_variation,
)
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dagsdk.families.nine_modes import nine_modes


def mixture(weights: torch.Tensor, scale: float) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(weights), Independent(Normal(CENTRES, scale), 1))


def test_densities_are_those_of_the_mixtures() -> None:
    x = 2 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_density(x), mixture(WEIGHTS, SCALE).log_prob(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(log_prior_density(x), mixture(torch.ones(9), 0.4).log_prob(x), rtol=1e-4, atol=1e-4)


def test_the_prior_is_what_vector_is_pretrained_on() -> None:
    points = nine_modes(50_000, torch.Generator().manual_seed(0))
    entropy = -log_prior_density(points).mean()  # below the cross-entropy of any other density
    assert entropy < -mixture(torch.ones(9), 0.38).log_prob(points).mean()
    assert entropy < -mixture(torch.ones(9), 0.42).log_prob(points).mean()


def test_masses_are_integrals_of_the_density() -> None:
    fine = torch.linspace(-3, 3, 20 * BINS + 1, dtype=torch.float64)
    middle = (fine[1:] + fine[:-1]) / 2
    density = log_density(torch.cartesian_prod(middle, middle)).exp().view(BINS, 20, BINS, 20)
    sums = density.sum((1, 3)).flatten() * (6 / (20 * BINS)) ** 2
    masses = exact_masses()
    torch.testing.assert_close(masses[:-1], sums, rtol=2e-3, atol=1e-9)
    assert float(masses.sum()) == pytest.approx(1) and bool((masses >= 0).all())


def test_samples_go_to_their_bins() -> None:
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    points = torch.cartesian_prod(middles, middles).float()
    torch.testing.assert_close(sampled_masses(points)[:-1], torch.full((BINS**2,), 1 / BINS**2).double())
    outside = torch.tensor([[-3.5, 0], [0, 3.5], [9, 9], [2.95, -2.95]])
    masses = sampled_masses(outside)
    assert masses[-1] == 0.75 and masses[(BINS - 1) * BINS] == 0.25


def test_total_variation_by_hand() -> None:
    assert total_variation(torch.tensor([0.5, 0.5, 0]), torch.tensor([0.25, 0.25, 0.5])) == pytest.approx(0.5)
    far = sampled_masses(torch.full((10, 2), 99.0))
    assert total_variation(far, exact_masses()) == pytest.approx(1, abs=1e-4)


def test_exact_samples_come_as_near_as_their_number_allows() -> None:
    """About 0.06 for 20 000 samples in 900 bins, and it falls with the square root of their number."""
    near, nearer = (total_variation(sampled_masses(exact_samples(n, 1)), exact_masses()) for n in (20_000, 320_000))
    assert 0.05 < near < 0.07
    assert nearer == pytest.approx(near / 4, rel=0.25)


def test_weights_of_modes() -> None:
    shares = mode_weights(exact_samples(100_000, 2))
    torch.testing.assert_close(shares, WEIGHTS, rtol=0, atol=0.01)
