from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from dagsdk.errors import DensityError
from dagsdk.process.gaussian import Gaussian
from dagsdk.process.sde import dance_sde, flow_sde

Sampler = Callable[[Tensor, Tensor, Tensor, Tensor, float], Gaussian]
BOTH = pytest.mark.parametrize("sampler", [flow_sde, dance_sde])


def test_one_step_by_hand() -> None:
    x, v, sigma, dt = (
        torch.full((1, 2), 2.0),
        torch.full((1, 2), -1.0),
        torch.tensor([0.8]),
        torch.tensor([-0.1]),
    )
    step = flow_sde(x, v, sigma, dt, a=0.7)
    s2 = 0.49 * 0.8 / 0.2
    mean = 2.0 * (1 + s2 * -0.1 / 1.6) + -1.0 * (1 + s2 * 0.2 / 1.6) * -0.1
    torch.testing.assert_close(step.mean, torch.full((1, 2), mean))
    torch.testing.assert_close(step.std, torch.tensor([[math.sqrt(s2 * 0.1)]]))
    torch.testing.assert_close(dance_sde(x, v, sigma, dt, 0.5).std, torch.tensor([[0.5 * math.sqrt(0.1)]]))


@BOTH
def test_without_noise_it_is_an_euler_step_of_the_flow(sampler: Sampler) -> None:
    x, v = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    step = sampler(x, v, torch.tensor([0.9, 0.5, 0.1]), torch.full((3,), -0.1), 0.0)
    torch.testing.assert_close(step.mean, x - 0.1 * v)
    assert not step.std.any()


@BOTH
def test_small_steps_keep_the_marginals_of_the_flow(sampler: Sampler) -> None:
    # data N(0, c²) has the linear velocity k x, so the variance of the chain is a recursion without sampling
    def marginal(t: Tensor) -> Tensor:
        return (1 - t) ** 2 * c2 + t**2

    c2 = 0.25
    times = torch.linspace(0.9, 0.2, 2001, dtype=torch.float64)
    variance = marginal(times[:1])
    for t, t_next in pairwise(times.split(1)):
        k = (t - (1 - t) * c2) / marginal(t)
        step = sampler(torch.ones_like(k), k, t, t_next - t, 0.7)
        variance = step.mean**2 * variance + step.std**2
    torch.testing.assert_close(variance, marginal(times[-1:]), rtol=2e-3, atol=0)


def test_pure_noise_needs_a_bound_on_sigma() -> None:
    x, one, dt = torch.ones(1, 2), torch.ones(1), torch.tensor([-0.1])
    with pytest.raises(DensityError, match="sigma_max below 1"):
        flow_sde(x, x, one, dt, 0.7)
    assert flow_sde(x, x, one, dt, 0.7, sigma_max=0.9).std.item() == pytest.approx(0.7 * 3 * math.sqrt(0.1))


@BOTH
def test_steps_towards_the_noise_are_refused(sampler: Sampler) -> None:
    x = torch.ones(1, 2)
    with pytest.raises(DensityError, match="dt < 0"):
        sampler(x, x, torch.tensor([0.5]), torch.tensor([0.1]), 0.7)


@BOTH
def test_half_precision_states_are_widened(sampler: Sampler) -> None:
    x = torch.ones(1, 2, dtype=torch.bfloat16)
    assert sampler(x, x, torch.tensor([0.5]), torch.tensor([-0.1]), 0.7).mean.dtype == torch.float32
