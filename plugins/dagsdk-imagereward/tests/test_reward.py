"""Rewards and gradients are those of an independent implementation with the same checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dagsdk import BuildContext, Prompt
from dagsdk.rewards.vision import encoder_input
from dagsdk.testing.samples import images
from dagsdk_imagereward import ImageRewardOptions
from dagsdk_imagereward.network import MEAN, STD, load_network
from dagsdk_imagereward.reward import ImageReward, build
from dagsdk_imagereward.sizes import read_sizes

TEXTS = ["a red cat", "", "green dogs, and cats! a far longer prompt that is cut", "a"]
PROMPTS = [Prompt(text) for text in TEXTS]


def reward(small: Any, precision: str = "no", **changes: Any) -> ImageReward:
    return build(ImageRewardOptions(**{**small.options, **changes}), BuildContext(mixed_precision=precision))


def gradient(reward: Any, at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.clone().requires_grad_()
    rewards = reward(at)
    return rewards.detach(), torch.autograd.grad(rewards.sum(), at)[0]


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    """In relation to the largest value."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize("edges", [(48, 48), (32, 32), (40, 70)])
def test_rewards_and_image_gradients_in_float32(small: Any, edges: tuple[int, int]) -> None:
    ours = reward(small)
    ids, mask = ours.tokens(TEXTS)
    given = images(4, 80)[..., : edges[0], : edges[1]]
    expected, slope = gradient(lambda x: small.plain(encoder_input(x, 48), ids, mask), given)
    found, found_slope = gradient(lambda x: ours(x, PROMPTS), given)
    assert expected.std() > 0.1 and slope.abs().amax(dim=(1, 2, 3)).min() > 1e-4  # neither is trivial
    assert close(found, expected, 1e-5) and close(found_slope, slope, 1e-5)


def test_rewards_and_gradients_in_float64(small: Any) -> None:
    sizes = read_sizes(small.options["config"])
    network = load_network(small.folder / "ImageReward.pt", sizes, "cpu", torch.float64)
    pixels = torch.randn(4, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids, mask = reward(small).tokens(TEXTS)
    try:
        expected, slope = gradient(lambda x: small.plain.double()(x, ids, mask), pixels)
    finally:
        small.plain.float()
    found, found_slope = gradient(lambda x: network(x, ids, mask), pixels)
    assert found.dtype == torch.float64
    assert close(found, expected, 1e-12) and close(found_slope, slope, 1e-12)


@pytest.mark.parametrize(("precision", "tolerance"), [("bf16", 0.06), ("fp16", 0.008)])
def test_half_precision_is_near(small: Any, precision: str, tolerance: float) -> None:
    exact, slope = gradient(lambda x: reward(small)(x, PROMPTS), images(4, 48))
    half = reward(small, precision)
    assert half.network.vision.dtype == half.network.text.dtype == half.dtype != torch.float32
    assert {weight.dtype for weight in half.network.head.parameters()} == {torch.float32}
    found, found_slope = gradient(lambda x: half(x, PROMPTS), images(4, 48))
    assert found.dtype == torch.float32
    assert close(found, exact, tolerance)
    assert torch.cosine_similarity(found_slope.flatten(1), slope.flatten(1)).min() > 1 - tolerance


def test_a_head_that_is_a_constant_is_standardised(small: Any) -> None:
    weights = small.plain.state_dict()
    for value in (MEAN, MEAN + STD, -2.0):
        weights["mlp.layers.7.weight"] = torch.zeros(1, 16)
        weights["mlp.layers.7.bias"] = torch.tensor([value])
        path = small.folder / f"constant{value:.2f}.pt"
        torch.save(weights, path)
        rewards = reward(small, checkpoint=str(path))(images(4, 48), PROMPTS)
        assert torch.allclose(rewards, torch.full((4,), (value - 0.16717362830052426) / 1.0333394966054072))


def test_the_prompt_counts_and_padding_does_not(small: Any) -> None:
    ours = reward(small)
    picture = images(1, 48)
    rewards = ours(picture.expand(4, -1, -1, -1), PROMPTS)
    assert len({round(found, 4) for found in rewards.tolist()}) == 4
    pixels = encoder_input(picture, 48)
    ids, mask = ours.tokens(["a red cat"])
    other = torch.where(mask.bool(), ids, 7)
    assert torch.equal(ours.network(pixels, ids, mask), ours.network(pixels, other, mask))
    short = int(mask.sum())
    assert torch.allclose(
        ours.network(pixels, ids[:, :short], mask[:, :short]), ours.network(pixels, ids, mask), atol=1e-5
    )


def test_batches_do_not_matter(small: Any) -> None:
    ours = reward(small)
    together = ours(images(4, 48), PROMPTS)
    alone = torch.cat([ours(images(4, 48)[i : i + 1], PROMPTS[i : i + 1]) for i in range(4)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_the_network_is_loaded_once_a_process_and_frozen(small: Any) -> None:
    first, second = reward(small), reward(small)
    assert first.network is second.network
    assert reward(small, "bf16").network is not first.network
    assert not first.network.training
    assert not any(weight.requires_grad for weight in first.network.parameters())


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 5)])
def test_other_shapes_are_refused(small: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(b, 3, h, w\)"):
        reward(small)(torch.zeros(shape), PROMPTS[:2])
