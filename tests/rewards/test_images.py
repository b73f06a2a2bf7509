from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dagsdk.errors import RewardError
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.images import check_rewards, to_uint8


@given(st.integers(0, 255))
def test_every_byte_survives_the_way_to_floats_and_back(value: int) -> None:
    assert (to_uint8(torch.full((1, 3, 2, 2), value / 255)) == value).all()


def test_bytes_are_rounded_not_truncated_and_out_of_range_is_clamped() -> None:
    values = torch.tensor([0.9 / 255, 0.4 / 255, -0.5, 1.5])
    images = values.reshape(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [1, 0, 0, 255]


def test_channels_go_last_and_the_images_stay_as_they_were() -> None:
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    before = images.detach().clone()
    bytes_ = to_uint8(images)
    assert bytes_.shape == (2, 4, 5, 3)
    assert bytes_.dtype == torch.uint8
    assert bytes_.is_contiguous()
    assert bytes_[1, 2, 3, 0] == (255 * before[1, 0, 2, 3]).round()
    assert torch.equal(images, before)


def test_an_empty_batch_is_an_empty_batch() -> None:
    assert to_uint8(torch.zeros(0, 3, 4, 5)).shape == (0, 4, 5, 3)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 4, 4),
        torch.zeros(2, 1, 4, 4),
        torch.zeros(5, 2),
        torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
    ],
)
def test_anything_but_a_batch_of_float_pictures_is_refused(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"images are .*shape \(b, 3, h, w\)"):
        to_uint8(images)


IMAGES = torch.zeros(3, 3, 2, 2)
PROMPTS = [Prompt("a cat"), Prompt("a dog"), Prompt("a newt")]


def test_good_rewards_pass_unchanged_with_their_gradient() -> None:
    rewards = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    assert check_rewards(rewards, IMAGES, "size", PROMPTS) is rewards


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_other_numbers_are_cast(dtype: torch.dtype) -> None:
    rewards = check_rewards(torch.tensor([0, 1, 1]).to(dtype), IMAGES, "size")
    assert rewards.dtype == torch.float32
    assert rewards.tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "rewards", [torch.zeros(3, 1), torch.tensor(0.0), torch.zeros(2), torch.zeros(1, 3), torch.zeros(0)]
)
def test_another_shape_is_refused(rewards: torch.Tensor) -> None:
    with pytest.raises(RewardError, match=r"reward 'size' returned shape .* for 3 images; it must be \(3,\)"):
        check_rewards(rewards, IMAGES, "size", PROMPTS)


@pytest.mark.parametrize("rewards", [[1.0, 2.0, 3.0], 1.0, None])
def test_anything_but_a_tensor_is_refused(rewards: object) -> None:
    with pytest.raises(RewardError, match=rf"reward 'size' returned {type(rewards).__name__};"):
        check_rewards(rewards, IMAGES, "size", PROMPTS)


def test_complex_rewards_are_refused() -> None:
    with pytest.raises(RewardError, match="complex64"):
        check_rewards(torch.zeros(3, dtype=torch.complex64), IMAGES, "size", PROMPTS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_reward_that_is_not_finite_is_named_with_its_prompt(value: float) -> None:
    rewards = torch.tensor([1.0, value, float("nan")])
    with pytest.raises(RewardError, match=rf"returned {value} for image 1 of 3 \(prompt 'a dog'\)"):
        check_rewards(rewards, IMAGES, "size", PROMPTS)
    with pytest.raises(RewardError, match=r"for image 1 of 3; rewards"):
        check_rewards(rewards, IMAGES, "size")


def test_a_reward_beyond_float32_is_refused_as_infinite() -> None:
    with pytest.raises(RewardError, match="inf for image 2"):
        check_rewards(torch.tensor([0.0, 0.0, 1e300], dtype=torch.float64), IMAGES, "size")
