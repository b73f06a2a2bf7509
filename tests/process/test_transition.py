"""Closed forms of Gaussian paths, held on both paths and at any times."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dagsdk.process.path import GaussianPath, RectifiedFlow, VariancePreserving
from dagsdk.process.prediction import denoise
from dagsdk.process.transition import Gaussian, forward_policy, noising_kernel, policy_variance, posterior_variance

PRESERVING = VariancePreserving(torch.linspace(0.9999, 0.002, 1000, dtype=torch.float64))
FLOW = RectifiedFlow()


@st.composite
def _path_and_times(draw: st.DrawFn, count: int) -> tuple[GaussianPath, list[Tensor]]:
    """A path and `count` falling times on it, each of shape (1,)."""
    ticks = sorted(draw(st.sets(st.integers(1, 998), min_size=count, max_size=count)), reverse=True)
    if draw(st.booleans()):
        return PRESERVING, [torch.tensor([tick]) for tick in ticks]
    return FLOW, [torch.tensor([tick / 999], dtype=torch.float64) for tick in ticks]


def _column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1)


def _at(path: GaussianPath, t: Tensor) -> tuple[Tensor, Tensor]:
    return path.alpha(t).reshape(-1, 1), path.sigma(t).reshape(-1, 1)


@settings(max_examples=60, deadline=None)
@given(_path_and_times(3))
def test_noising_in_two_steps_is_noising_in_one(drawn: tuple[GaussianPath, list[Tensor]]) -> None:
    path, (t, s, r) = drawn
    one = noising_kernel(path, _column(1.0), t, r)
    first = noising_kernel(path, _column(1.0), s, r)
    second = noising_kernel(path, first.mean, t, s)
    gain = noising_kernel(path, _column(1.0), t, s).mean  # the kernel is linear without offset
    torch.testing.assert_close(second.mean, one.mean)
    torch.testing.assert_close((gain * first.std) ** 2 + second.std**2, one.std**2)


@settings(max_examples=60, deadline=None)
@given(_path_and_times(2), st.floats(-3, 3))
def test_noising_takes_the_marginal_of_one_time_to_that_of_the_other(
    drawn: tuple[GaussianPath, list[Tensor]], x0: float
) -> None:
    path, (t, t_next) = drawn
    (alpha, sigma), (alpha_next, sigma_next) = _at(path, t), _at(path, t_next)
    kernel = noising_kernel(path, alpha_next * x0, t, t_next)
    gain = noising_kernel(path, _column(1.0), t, t_next).mean
    torch.testing.assert_close(kernel.mean, alpha * x0)
    torch.testing.assert_close((gain * sigma_next) ** 2 + kernel.std**2, sigma**2)


@settings(max_examples=60, deadline=None)
@given(_path_and_times(2), st.floats(-3, 3), st.floats(-3, 3))
def test_ancestral_sampling_with_the_true_clean_state_is_the_bayes_posterior(
    drawn: tuple[GaussianPath, list[Tensor]], x0: float, eps: float
) -> None:
    path, (t, t_next) = drawn
    (alpha, sigma), (alpha_next, sigma_next) = _at(path, t), _at(path, t_next)
    x_t = alpha * x0 + sigma * eps
    # condition the pair (x_t', x_t) given x_0 on x_t: prior N(α' x_0, σ'²), observation N(g x_t', v)
    gain = alpha / alpha_next
    noise = sigma**2 - (gain * sigma_next) ** 2
    weight = sigma_next**2 * gain / (gain**2 * sigma_next**2 + noise)
    mean = alpha_next * x0 + weight * (x_t - gain * alpha_next * x0)
    variance = (1 - weight * gain) * sigma_next**2

    policy = forward_policy(path, _column(x0), _column(eps), t, t_next, eta=1.0)
    torch.testing.assert_close(policy.mean, mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(policy.std**2, variance, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(posterior_variance(path, t, t_next), variance[:, 0], rtol=1e-6, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(_path_and_times(2), st.floats(0, 1), st.floats(-3, 3))
def test_the_policy_keeps_the_marginal_at_any_eta(
    drawn: tuple[GaussianPath, list[Tensor]], eta: float, x0: float
) -> None:
    path, (t, t_next) = drawn
    alpha_next, sigma_next = _at(path, t_next)
    policy = forward_policy(path, _column(x0), _column(0.0), t, t_next, eta)
    slope = forward_policy(path, _column(0.0), _column(1.0), t, t_next, eta).mean
    torch.testing.assert_close(policy.mean, alpha_next * x0)
    torch.testing.assert_close(slope**2 + policy.std**2, sigma_next**2)


@settings(max_examples=30, deadline=None)
@given(_path_and_times(2), st.floats(-2, 2))
def test_policy_and_kernel_are_in_detailed_balance_with_the_marginals(
    drawn: tuple[GaussianPath, list[Tensor]], value: float
) -> None:
    # detailed balance with the exact x_0: p_F(x'|x) p(x|x_0) = p_B(x|x') p(x'|x_0)
    path, (t, t_next) = drawn
    (alpha, sigma), (alpha_next, sigma_next) = _at(path, t), _at(path, t_next)
    x0, x_next, x_t = _column(0.7), _column(value), _column(-0.4)
    policy = forward_policy(path, x0, (x_t - alpha * x0) / sigma, t, t_next, eta=1.0)
    kernel = noising_kernel(path, x_next, t, t_next)
    left = policy.log_prob(x_next) + Gaussian(alpha * x0, sigma).log_prob(x_t)
    right = kernel.log_prob(x_t) + Gaussian(alpha_next * x0, sigma_next).log_prob(x_next)
    torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("trailing", [(), (2,), (4, 8, 8)])
@pytest.mark.parametrize("batch", [1, 3])
def test_rows_have_times_of_their_own(batch: int, trailing: tuple[int, ...]) -> None:
    t, t_next = torch.tensor([900, 500, 20])[:batch], torch.tensor([880, 480, 0])[:batch]
    x0, eps = torch.randn(2, batch, *trailing, generator=torch.Generator().manual_seed(0))
    policy = forward_policy(PRESERVING, x0, eps, t, t_next, 1.0)
    kernel = noising_kernel(PRESERVING, x0, t, t_next)
    assert policy.mean.shape == kernel.mean.shape == (batch, *trailing)
    for i in range(batch):
        row = slice(i, i + 1)
        alone = forward_policy(PRESERVING, x0[row], eps[row], t[row], t_next[row], 1.0)
        assert torch.equal(policy.mean[row], alone.mean)
        assert torch.equal(policy.log_prob(eps)[row], alone.log_prob(eps[row]))


def test_without_eta_the_policy_samples_and_has_no_density() -> None:
    x0, eps = torch.ones(1, 2), torch.ones(1, 2)
    policy = forward_policy(PRESERVING, x0, eps, torch.tensor([500]), torch.tensor([480]), eta=0.0)
    assert torch.equal(policy.sample(torch.Generator().manual_seed(0)), policy.mean)
    with pytest.raises(ValueError, match="standard deviation is 0"):
        policy.log_prob(x0)


@pytest.mark.parametrize("eta", [-0.1, 1.1, float("nan")])
def test_an_eta_outside_its_range_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match="eta"):
        forward_policy(FLOW, torch.ones(1), torch.ones(1), torch.ones(1), torch.zeros(1), eta)


def test_the_last_step_of_a_rectified_flow_ends_at_the_clean_state() -> None:
    x0 = torch.tensor([[1.0, -2.0]])
    policy = forward_policy(FLOW, x0, torch.ones(1, 2), torch.tensor([0.1]), torch.tensor([0.0]), eta=1.0)
    assert torch.equal(policy.mean, x0)
    assert policy.std.item() == 0


def test_the_first_step_of_a_rectified_flow_forgets_the_noise() -> None:
    # at t = 1 the state says nothing of x_0, so the posterior of x_t' is its marginal
    t, t_next = torch.tensor([1.0]).double(), torch.tensor([0.75]).double()
    policy = forward_policy(FLOW, _column(2.0), _column(1.0), t, t_next, eta=1.0)
    torch.testing.assert_close(policy.mean, _column(0.5))
    torch.testing.assert_close(policy.std, _column(0.75))
    assert noising_kernel(FLOW, _column(2.0), t, t_next).mean.item() == 0


def test_a_kernel_that_goes_nowhere_has_no_density() -> None:
    kernel = noising_kernel(PRESERVING, torch.ones(1, 2), torch.tensor([5]), torch.tensor([5]))
    with pytest.raises(ValueError, match="standard deviation is 0"):
        kernel.log_prob(torch.ones(1, 2))


def test_times_in_the_wrong_order_are_refused() -> None:
    t, t_next = torch.tensor([500, 480]), torch.tensor([480, 500])
    with pytest.raises(ValueError, match=r"variance of a transition is -.*t_next < t"):
        noising_kernel(PRESERVING, torch.ones(2, 1), t, t_next)
    with pytest.raises(ValueError, match="variance of a transition"):
        forward_policy(PRESERVING, torch.ones(2, 1), torch.ones(2, 1), t, t_next, 1.0)


def test_a_floor_clamps_and_leaves_the_mean() -> None:
    arguments = (
        PRESERVING,
        torch.ones(2, 1),
        torch.ones(2, 1),
        torch.tensor([500, 2]),
        torch.tensor([480, 0]),
    )
    free, floored = forward_policy(*arguments, 1.0), forward_policy(*arguments, 1.0, std_floor=0.1)
    assert torch.equal(free.mean, floored.mean)
    assert torch.equal(floored.std, free.std.clamp(min=0.1))
    assert (free.std < 0.1).any()
    assert floored.checked and not free.checked


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_densities_are_float32_and_close_to_float64(dtype: torch.dtype) -> None:
    x0, eps, x = torch.randn(3, 2, 16, generator=torch.Generator().manual_seed(0)).to(dtype)
    t, t_next = torch.tensor([981, 3]), torch.tensor([961, 0])
    narrow = forward_policy(PRESERVING, x0, eps, t, t_next, 1.0).log_prob(x)
    exact = forward_policy(PRESERVING, x0.double(), eps.double(), t, t_next, 1.0).log_prob(x.double())
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), exact, rtol=1e-5, atol=1e-5)


def test_float32_times_lose_nothing_to_cancellation() -> None:
    t, t_next = torch.tensor([0.5]), torch.tensor([0.4999])
    torch.testing.assert_close(
        posterior_variance(FLOW, t, t_next),
        posterior_variance(FLOW, t.double(), t_next.double()),
        rtol=0,
        atol=0,
    )


def test_gradients_reach_both_halves_of_the_prediction() -> None:
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x0.requires_grad_()
    eps.requires_grad_()
    t, t_next = torch.tensor([900, 500, 20]), torch.tensor([880, 480, 0])
    log_prob = lambda x0, eps: forward_policy(PRESERVING, x0, eps, t, t_next, 0.8).log_prob(torch.ones(3, 4))  # noqa: E731
    assert torch.autograd.gradcheck(log_prob, (x0, eps))


@pytest.mark.parametrize("path", [PRESERVING, FLOW], ids=["preserving", "flow"])
def test_with_a_floor_nothing_waits_for_the_device(path: GaussianPath) -> None:
    # tensors on the meta device have no values: whatever looks at one raises
    x = torch.empty(3, 4, device="meta")
    t = torch.empty(3, device="meta", dtype=torch.int64 if path is PRESERVING else torch.float32)
    output, _ = denoise("epsilon", x, x, path.alpha(t), path.sigma(t))
    policy = forward_policy(path, output, x, t, t, 1.0, std_floor=0.0)
    assert policy.log_prob(policy.at(x)).shape == (3,)
    assert noising_kernel(path, x, t, t, std_floor=0.0).log_prob(x).device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        forward_policy(path, output, x, t, t, 1.0)


def test_policy_variances_are_ordered_and_the_mean_stays() -> None:
    path = VariancePreserving(torch.linspace(0.999, 0.01, 50, dtype=torch.float64))
    t, t_next = torch.tensor([40, 20, 5]), torch.tensor([30, 10, 1])
    posterior, geometric, noising = (
        policy_variance(path, t, t_next, 1.0, kind) for kind in ("posterior", "geometric", "noising")
    )
    assert (posterior < geometric).all() and (geometric < noising).all()
    assert torch.allclose(geometric.square(), posterior * noising)
    # of data with unit variance, x_t' given x_t has exactly the noising kernel's variance
    assert torch.allclose(noising, 1 - (path.alpha(t) / path.alpha(t_next)).square())
    x0, eps = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = forward_policy(path, x0, eps, t, t_next, 1.0)
    wide = forward_policy(path, x0, eps, t, t_next, 1.0, variance="noising")
    assert torch.equal(plain.mean, wide.mean)
    assert torch.allclose(wide.std.flatten().square(), noising)
