"""The size of images as JPEGs (arXiv 2305.13301, section 5.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import torch
from attrs import frozen
from PIL import Image
from torch import Tensor

from dagsdk import Prompt
from dagsdk.rewards.images import to_uint8

Array = np.ndarray[Any, np.dtype[Any]]

LARGE = 2**15
"""Pixels of an image from which on threads gain; below, most of the time is Python's."""


@frozen
class JpegSize:
    """Reward: sign · size in kB (1000 bytes) of each image as a JPEG by Pillow.

    threads: how many encode large images; 0 is as many as torch has.

    Images (b, 3, h, w) in [0, 1] → (b,), float32. Raises ValueError for images of another shape.
    """

    quality: int
    sign: Literal[-1, 1]
    subsampling: str = "4:2:0"
    threads: int = 0

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        sizes = [self.sign * size / 1000 for size in self._bytes(images)]
        return torch.tensor(sizes, device=images.device, dtype=torch.float32)

    def _bytes(self, images: Tensor) -> list[int]:
        if images.device.type == "cpu":
            to_uint8(images[:0])  # refuses what is no batch of images
            pictures: Array = images.detach().float().numpy()
        else:
            pictures = to_uint8(images).cpu().numpy()
        save = partial(Image.Image.save, format="JPEG", quality=self.quality, subsampling=self.subsampling)
        workers = min(self.threads or torch.get_num_threads(), len(pictures))
        if workers < 2 or images[0, 0].numel() < LARGE:
            return [_size(picture, save) for picture in pictures]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(partial(_size_beside_others, save=save), pictures))


def _size(picture: Array, save: partial[None]) -> int:
    buffer = BytesIO()
    save(Image.fromarray(_as_bytes(picture)), buffer)
    return buffer.tell()


def _size_beside_others(picture: Array, save: partial[None]) -> int:
    """The same by a file: Pillow lets other threads run only while it writes to one that has a descriptor."""
    with TemporaryFile(buffering=0) as file:
        save(Image.fromarray(_as_bytes(picture)), file)
        return file.seek(0, os.SEEK_END)


def _as_bytes(picture: Array) -> Array:
    """`to_uint8` of one image, (3, h, w) → (h, w, 3): what stays in the processor's cache takes a fifth of the time."""
    if picture.dtype == np.uint8:  # has been there
        return picture
    scaled = np.clip(picture, 0, 1) * np.float32(255)
    np.rint(scaled, out=scaled)
    whole = np.empty((*scaled.shape[1:], 3), np.uint8)
    for channel in range(3):
        whole[..., channel] = scaled[channel]
    return whole
