"""Preprocessing on tensors is what Pillow does, but for rounding to bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dagsdk.rewards.vision import CLIP_MEAN, CLIP_STD, encoder_input
from dagsdk.testing.samples import images


@pytest.mark.parametrize(
    ("height", "width", "side"), [(32, 32, 28), (48, 32, 28), (33, 70, 40), (20, 20, 56), (80, 360, 224)]
)
def test_it_is_what_pillow_does(height: int, width: int, side: int) -> None:
    tensors = (images(4, 360)[..., :height, :width] * 255).round() / 255
    rows, columns = height * side // min(height, width), width * side // min(height, width)
    top, left = (rows - side) // 2, (columns - side) // 2
    expected = []
    for tensor in tensors:
        picture = Image.fromarray((tensor * 255).round().byte().permute(1, 2, 0).numpy())
        resized = picture.resize((columns, rows), Image.Resampling.BICUBIC)
        cut = np.asarray(resized.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
        expected.append(torch.from_numpy((cut - CLIP_MEAN) / CLIP_STD).permute(2, 0, 1))
    # Pillow rounds to bytes after each of two passes: a level or two of 255, over the smallest std
    assert (encoder_input(tensors, side) - torch.stack(expected)).abs().max() < 2.5 / 255 / min(CLIP_STD)


def test_no_resizing_is_exact_and_standardises_by_colour() -> None:
    flat = torch.tensor(CLIP_MEAN)[:, None, None].expand(1, 3, 16, 16)
    assert encoder_input(flat, 16).abs().max() < 1e-6
    bright = encoder_input(flat + torch.tensor(CLIP_STD)[:, None, None], 16)
    assert (bright - 1).abs().max() < 1e-6


def test_gradients_flow_and_dtype_is_kept() -> None:
    given = images(2, 40).requires_grad_()
    encoder_input(given, 28).square().sum().backward()
    assert given.grad is not None and given.grad.isfinite().all() and given.grad.abs().sum() > 0
    assert encoder_input(images(1).half(), 32).dtype == torch.float16


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (5, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(b, 3, h, w\)"):
        encoder_input(torch.zeros(shape), 8)
