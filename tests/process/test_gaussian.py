from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from dagsdk.errors import DagsdkError, DensityError
from dagsdk.process.gaussian import Gaussian, Reduction


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_kl_is_that_of_torchs_distributions(reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    stds = torch.rand(2, 3, 1, 1, generator=generator, dtype=torch.float64) + 0.1
    one, two = (Gaussian(mean, std) for mean, std in zip(means, stds, strict=True))
    normals = [torch.distributions.Normal(m, s.expand_as(m)) for m, s in zip(means, stds, strict=True)]
    exact = torch.distributions.kl_divergence(*normals).flatten(1)
    expected = exact.mean(1) if reduction == "mean" else exact.sum(1)
    assert torch.allclose(one.kl(two, reduction), expected)
    assert one.kl(one, reduction).abs().max() < 1e-12


@pytest.mark.parametrize("trailing", [(), (2,), (4, 8, 8), (1, 1, 1, 3)])
@pytest.mark.parametrize("batch", [1, 5])
def test_log_density_is_that_of_torch_distributions(batch: int, trailing: tuple[int, ...]) -> None:
    shape = (batch, *trailing)
    mean, x = torch.randn(2, *shape, dtype=torch.float64, generator=_seeded())
    std = torch.rand(batch, *(1,) * len(trailing), dtype=torch.float64, generator=_seeded(1)) + 0.1
    expected = Independent(Normal(mean, std.expand(shape)), len(trailing)).log_prob(x)
    gaussian = Gaussian(mean, std)
    torch.testing.assert_close(gaussian.log_prob(x, "sum"), expected)
    dimensions = torch.Size(trailing).numel()
    torch.testing.assert_close(gaussian.log_prob(x), expected / dimensions)
    assert gaussian.log_prob(x).shape == (batch,)


@pytest.mark.parametrize("trailing", [(), (2,), (4, 8, 8)])
def test_the_score_is_the_gradient_of_the_log_density(trailing: tuple[int, ...]) -> None:
    """-(x - μ) / σ²: by autograd through torch's distributions, and -z / σ at μ + σ z."""
    shape = (5, *trailing)
    mean, x = torch.randn(2, *shape, dtype=torch.float64, generator=_seeded())
    std = torch.rand(5, *(1,) * len(trailing), dtype=torch.float64, generator=_seeded(1)) + 0.1
    gaussian, leaf = Gaussian(mean, std), x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(Normal(mean, std.expand(shape)).log_prob(leaf).sum(), leaf)
    torch.testing.assert_close(gaussian.score(x), expected)
    torch.testing.assert_close(gaussian.score(gaussian.at(x)), -x / std)
    assert gaussian.score(mean).count_nonzero() == 0


def test_the_score_is_wide_and_its_gradient_reaches_the_mean() -> None:
    mean = torch.zeros(2, 3, requires_grad=True)
    score = Gaussian(mean, torch.tensor([[0.5], [2.0]])).score(torch.ones(2, 3, dtype=torch.bfloat16))
    assert score.dtype == torch.float32 and score.tolist() == [[-4.0] * 3, [-0.25] * 3]
    score.sum().backward()
    assert mean.grad.tolist() == [[4.0] * 3, [0.25] * 3]


def test_an_empty_batch_has_no_densities() -> None:
    gaussian = Gaussian(torch.zeros(0, 3), torch.ones(0, 1))
    assert gaussian.log_prob(torch.zeros(0, 3)).shape == (0,)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_row_does_not_depend_on_its_batch(reduction: Reduction) -> None:
    mean, x = torch.randn(2, 6, 4, 8, 8, generator=_seeded())
    std = torch.full((6, 1, 1, 1), 0.3)
    whole = Gaussian(mean, std).log_prob(x, reduction)
    rows = [Gaussian(mean[i : i + 1], std[i : i + 1]).log_prob(x[i : i + 1], reduction) for i in range(6)]
    torch.testing.assert_close(whole, torch.cat(rows))


def test_half_precision_states_are_widened_before_the_density() -> None:
    mean, std = torch.zeros(2, 3), torch.full((2, 1), 0.02)
    x = torch.full((2, 3), 0.1, dtype=torch.bfloat16)
    log_prob = Gaussian(mean, std).log_prob(x)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob, Normal(0.0, 0.02).log_prob(x[:, 0].float()))


def test_gradients_reach_the_mean() -> None:
    mean = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, dtype=torch.float64, generator=_seeded())
    Gaussian(mean, torch.full((2, 1), 0.5, dtype=torch.float64)).log_prob(x, "sum").sum().backward()
    torch.testing.assert_close(mean.grad, x / 0.25)


def test_equal_seeds_give_equal_samples_and_others_do_not() -> None:
    gaussian = Gaussian(torch.zeros(2, 3), torch.ones(2, 1))
    first, again, other = (gaussian.sample(_seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_samples_have_the_mean_and_the_deviation_and_no_gradient() -> None:
    mean = torch.tensor([[3.0], [-1.0]]).expand(2, 20_000).clone().requires_grad_()
    x = Gaussian(mean, torch.tensor([[0.5], [2.0]])).sample(_seeded())
    assert not x.requires_grad
    torch.testing.assert_close(x.mean(1), torch.tensor([3.0, -1.0]), atol=0.06, rtol=0)
    torch.testing.assert_close(x.std(1), torch.tensor([0.5, 2.0]), atol=0, rtol=0.03)


def test_noise_of_ones_is_one_deviation_away() -> None:
    gaussian = Gaussian(torch.full((1, 2), 3.0), torch.full((1, 1), 0.5))
    assert gaussian.at(torch.ones(1, 2, dtype=torch.float16)).tolist() == [[3.5, 3.5]]


def test_a_generator_is_asked_for() -> None:
    with pytest.raises(TypeError, match=r"torch\.Generator"):
        Gaussian(torch.zeros(1, 1), torch.ones(1, 1)).sample(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_no_density_without_a_positive_finite_deviation(std: float) -> None:
    gaussian = Gaussian(torch.zeros(2, 2), torch.tensor([[1.0], [std]]))
    with pytest.raises(DensityError, match=rf"standard deviation is {std:g};.*rollout\.std_floor") as caught:
        gaussian.log_prob(torch.zeros(2, 2))
    assert isinstance(caught.value, DagsdkError)


def test_a_deviation_of_zero_still_samples_the_mean() -> None:
    mean = torch.tensor([[1.0, 2.0]])
    assert torch.equal(Gaussian(mean, torch.zeros(1, 1)).sample(_seeded()), mean)


def test_a_floor_raises_what_is_below_and_leaves_what_is_above() -> None:
    floored = Gaussian(torch.zeros(2, 1), torch.tensor([[0.0], [0.7]])).floored(0.1)
    torch.testing.assert_close(floored.std, torch.tensor([[0.1], [0.7]]))
    assert floored.checked
    torch.testing.assert_close(
        floored.log_prob(torch.ones(2, 1)), Normal(0.0, floored.std[:, 0]).log_prob(torch.ones(2))
    )


def test_a_floor_of_zero_never_gives_nan() -> None:
    floored = Gaussian(torch.zeros(2, 1), torch.zeros(2, 1)).floored(0.0)
    assert not floored.log_prob(torch.tensor([[0.0], [1.0]])).isnan().any()


@pytest.mark.parametrize("minimum", [-0.1, float("nan"), float("inf")])
def test_a_floor_that_is_no_deviation_is_refused(minimum: float) -> None:
    with pytest.raises(ValueError, match="std_floor"):
        Gaussian(torch.zeros(1, 1), torch.ones(1, 1)).floored(minimum)


def test_states_of_another_shape_and_unknown_reductions_are_refused() -> None:
    gaussian = Gaussian(torch.zeros(2, 3), torch.ones(2, 1))
    with pytest.raises(ValueError, match="shape"):
        gaussian.log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="'median'"):
        gaussian.log_prob(torch.zeros(2, 3), "median")  # type: ignore[arg-type]
