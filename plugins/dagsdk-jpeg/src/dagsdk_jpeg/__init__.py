"""JPEG size as a reward, of either sign. Torch and Pillow are loaded in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le

from dagsdk import BuildContext, RewardSpec, hookimpl

if TYPE_CHECKING:
    from dagsdk.rewards.protocol import Reward


@frozen(kw_only=True)
class JpegOptions:
    """Options of both rewards.

    quality: of the encoder, 1..100.
    subsampling: of the colours; Pillow's default is "4:2:0", a value for every 2 x 2 pixels.
    threads: how many encode large images on a CPU at a time; 0 is as many as torch has.
    """

    quality: int = field(default=95, validator=and_(instance_of(int), ge(1), le(100)))
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    threads: int = field(default=0, validator=and_(instance_of(int), ge(0)))


def build_compressibility(options: JpegOptions, context: BuildContext) -> Reward:
    from dagsdk_jpeg.size import JpegSize

    return JpegSize(options.quality, -1, options.subsampling, options.threads)


def build_incompressibility(options: JpegOptions, context: BuildContext) -> Reward:
    from dagsdk_jpeg.size import JpegSize

    return JpegSize(options.quality, 1, options.subsampling, options.threads)


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[JpegOptions]]:
    yield RewardSpec(
        name="jpeg-compressibility",
        summary="Negative size of the image as a JPEG, in kB: higher for plain images",
        build=build_compressibility,
        options=JpegOptions,
    )
    yield RewardSpec(
        name="jpeg-incompressibility",
        summary="Size of the image as a JPEG, in kB: higher for detailed images",
        build=build_incompressibility,
        options=JpegOptions,
    )
