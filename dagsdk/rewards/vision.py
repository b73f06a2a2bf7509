"""From images as rewards get them to the input of a vision encoder, on tensors and with gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the colours of CLIP's training images (arXiv 2103.00020, its published code)."""


def encoder_input(
    images: Tensor,
    side: int,
    mean: Sequence[float] = CLIP_MEAN,
    std: Sequence[float] = CLIP_STD,
    interpolation: Literal["bicubic", "bilinear"] = "bicubic",
) -> Tensor:
    """Images (b, 3, h, w) in [0, 1] → (b, 3, side, side), standardised by colour; dtype and gradient are kept.

    As in Pillow, the shorter edge is resized to `side` with antialiasing, first the width and then the height. Each
    time, values that bicubic interpolation takes beyond [0, 1] are clamped, as bytes would be. Then the middle is cut
    out. Raises ValueError for other shapes.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; they must be floating point in [0, 1] of "
            "shape (b, 3, h, w): this reward is for batches of pictures, not for vectors or single images"
        )
    height, width = images.shape[-2:]
    if (height, width) != (side, side):
        short = min(height, width)
        rows, columns = height * side // short, width * side // short
        for size in ((height, columns), (rows, columns)):
            images = F.interpolate(images, size, mode=interpolation, align_corners=False, antialias=True).clamp(0, 1)
    top, left = (round((edge - side) / 2) for edge in images.shape[-2:])
    images = images[..., top : top + side, left : left + side]
    centre, spread = (torch.tensor(values, device=images.device, dtype=images.dtype) for values in (mean, std))
    return (images - centre[:, None, None]) / spread[:, None, None]
