"""The size of an image as a JPEG, as a reward of either sign. Torch and Pillow are loaded when one is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le

from dagsdk import RewardSpec, hookimpl


@frozen(kw_only=True)
class JpegOptions:
    """Options of both rewards.

    quality: of the encoder, 1 to 100.
    subsampling: of the colours; Pillow's default is "4:2:0", one value per 2 × 2 pixels.
    threads: how many threads encode large images on a CPU; 0 means as many as torch has.
    """

    quality: int = field(default=95, validator=and_(instance_of(int), ge(1), le(100)))
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    threads: int = field(default=0, validator=and_(instance_of(int), ge(0)))


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[JpegOptions]]:
    yield RewardSpec(
        name="jpeg-compressibility",
        summary="Negative size of the image as a JPEG, in kB: higher for plain images",
        build="dagsdk_jpeg.size:Compressibility",
        options=JpegOptions,
    )
    yield RewardSpec(
        name="jpeg-incompressibility",
        summary="Size of the image as a JPEG, in kB: higher for detailed images",
        build="dagsdk_jpeg.size:Incompressibility",
        options=JpegOptions,
    )
