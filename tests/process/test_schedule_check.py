from __future__ import annotations

import pytest
import torch

from dagsdk.errors import DensityError
from dagsdk.process.path import RectifiedFlow, VariancePreserving
from dagsdk.process.transition import check_schedule, posterior_variance, transition_stds

PATH = VariancePreserving(torch.linspace(0.9999, 0.002, 100, dtype=torch.float64))
FALLING = torch.tensor([99, 60, 20, 0])


def test_deviations_are_eta_times_the_root_of_the_posterior_variance() -> None:
    stds = transition_stds(PATH, FALLING, 0.5)
    assert stds.shape == (3,)
    torch.testing.assert_close(stds**2, 0.25 * posterior_variance(PATH, FALLING[:-1], FALLING[1:]))


def test_a_falling_chain_passes_and_so_does_a_flow_that_starts_at_pure_noise() -> None:
    check_schedule(PATH, FALLING, eta=1.0)
    check_schedule(RectifiedFlow(), torch.tensor([1.0, 0.5, 0.1]), eta=0.1)


def test_a_last_step_without_noise_is_named_with_its_ways_out() -> None:
    times = torch.tensor([1.0, 0.5, 0.0])
    with pytest.raises(DensityError, match=r"step 1 of 2, from time 0.5 to 0 .* deviation 0") as caught:
        check_schedule(RectifiedFlow(), times, eta=1.0)
    assert 'rollout.last_step = "drop"' in str(caught.value)
    assert "rollout.std_floor" in str(caught.value)
    check_schedule(RectifiedFlow(), times, eta=1.0, std_floor=0.01)


@pytest.mark.parametrize("floor", [0.0, 0.1])
@pytest.mark.parametrize(("times", "step"), [([99, 60, 60, 0], 1), ([0, 60], 0), ([99, 20, 30, 40], 1)])
def test_the_first_step_that_does_not_fall_is_named_whatever_the_floor(
    times: list[int], step: int, floor: float
) -> None:
    with pytest.raises(DensityError, match=rf"step {step} of {len(times) - 1}, .*must fall"):
        check_schedule(PATH, torch.tensor(times), 1.0, floor)


def test_without_eta_there_is_no_density() -> None:
    with pytest.raises(DensityError, match=r"step 0 .*eta 0.*rollout\.eta > 0"):
        check_schedule(PATH, FALLING, eta=0.0)


@pytest.mark.parametrize("times", [torch.tensor([5]), torch.tensor([[5, 4]]), torch.tensor(5)])
def test_a_chain_has_two_times_at_least(times: torch.Tensor) -> None:
    with pytest.raises(DensityError, match="T \\+ 1"):
        check_schedule(PATH, times, eta=1.0)
