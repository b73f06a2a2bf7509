"""The size of images as JPEGs (arXiv 2305.13301, section 5.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dagsdk.rewards.images import to_uint8

if TYPE_CHECKING:
    from dagsdk import Prompt
    from dagsdk_jpeg import JpegOptions

Array = np.ndarray[Any, np.dtype[Any]]

LARGE = 2**15
"""Pixels of an image from which threads are faster; below, most of the time is spent in Python."""


class Incompressibility:
    """Reward: size in kB (1000 bytes) of each image as a JPEG by Pillow.

    Images (b, 3, h, w) in [0, 1] → (b,), float32, without gradient. Raises ValueError for images of another shape.
    """

    sign = 1

    def __init__(self, options: JpegOptions) -> None:
        self.options = options

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        sizes = [self.sign * size / 1000 for size in self._bytes(images)]
        return torch.tensor(sizes, device=images.device, dtype=torch.float32)

    def _bytes(self, images: Tensor) -> list[int]:
        if images.device.type == "cpu":
            to_uint8(images[:0])  # refuses other shapes
            pictures: Array = images.detach().float().numpy()
        else:
            pictures = to_uint8(images).cpu().numpy()
        quality, subsampling = self.options.quality, self.options.subsampling
        save = partial(Image.Image.save, format="JPEG", quality=quality, subsampling=subsampling)
        workers = min(self.options.threads or torch.get_num_threads(), len(pictures))
        if workers < 2 or images[0, 0].numel() < LARGE:
            return [_size(picture, save) for picture in pictures]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(partial(_size_in_thread, save=save), pictures))


class Compressibility(Incompressibility):
    """Reward: the negative size."""

    sign = -1


def _size(picture: Array, save: partial[None]) -> int:
    buffer = BytesIO()
    save(Image.fromarray(_as_bytes(picture)), buffer)
    return buffer.tell()


def _size_in_thread(picture: Array, save: partial[None]) -> int:
    """The same through a file: Pillow releases the GIL only while it writes to one with a file descriptor."""
    with TemporaryFile(buffering=0) as file:
        save(Image.fromarray(_as_bytes(picture)), file)
        return file.seek(0, os.SEEK_END)


def _as_bytes(picture: Array) -> Array:
    """`to_uint8` of one image, (3, h, w) → (h, w, 3): one image stays in the cache, which takes a fifth of the time."""
    if picture.dtype == np.uint8:  # it came from an accelerator
        return picture
    scaled = np.clip(picture, 0, 1) * np.float32(255)
    np.rint(scaled, out=scaled)
    whole = np.empty((*scaled.shape[1:], 3), np.uint8)
    for channel in range(3):
        whole[..., channel] = scaled[channel]
    return whole
