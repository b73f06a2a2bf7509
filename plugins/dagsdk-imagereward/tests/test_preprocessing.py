"""What the image encoder sees is what transformers' processors make of the same pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import BlipImageProcessorPil, CLIPImageProcessorPil

from dagsdk import Prompt
from dagsdk.rewards.vision import CLIP_STD
from dagsdk.testing.samples import images
from dagsdk_imagereward.reward import ImageReward

# Pillow rounds to bytes after each of two passes: a level or two of 255, over the smallest std
TOLERANCE = 2.5 / 255 / min(CLIP_STD)


class Seen(nn.Module):
    """In place of the network: keeps what it is given."""

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        self.pixels = pixels
        return pixels.mean((1, 2, 3))


def no_tokens(texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(texts), 35), torch.zeros(len(texts), 35)


def seen(given: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    network: Any = Seen()
    ImageReward(network, no_tokens, 224, dtype)(given, [Prompt("")] * len(given))  # type: ignore[arg-type]
    return network.pixels


def pictures(given: Tensor) -> list[Image.Image]:
    return [Image.fromarray((t * 255).round().byte().permute(1, 2, 0).numpy()) for t in given]


def eight_bit(edge: int) -> Tensor:
    return (images(4, edge) * 255).round() / 255


@pytest.mark.parametrize("edge", [64, 224, 300, 512])
def test_squares_are_those_of_blip(edge: int) -> None:
    processor = BlipImageProcessorPil(size={"height": 224, "width": 224})
    expected = torch.from_numpy(np.stack(processor(pictures(eight_bit(edge)))["pixel_values"]))
    assert (seen(eight_bit(edge)) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(("height", "width"), [(300, 200), (240, 320)])
def test_the_middle_of_others_is_that_of_clip(height: int, width: int) -> None:
    """As published: the shorter edge becomes 224 pixels long, and the middle is cut out."""
    given = eight_bit(320)[..., :height, :width]
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    expected = torch.from_numpy(np.stack(processor(pictures(given))["pixel_values"]))
    assert (seen(given) - expected).abs().max() < TOLERANCE


def test_half_precision_begins_after_it() -> None:
    given = eight_bit(300)
    assert torch.equal(seen(given, torch.bfloat16), seen(given).bfloat16())
