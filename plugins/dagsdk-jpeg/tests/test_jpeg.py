from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import dagsdk_jpeg
from dagsdk import BuildContext, Prompt
from dagsdk.config.components import structure_options
from dagsdk.errors import ConfigError
from dagsdk.rewards.images import to_uint8
from dagsdk.rewards.protocol import Reward
from dagsdk_jpeg import JpegOptions
from dagsdk_jpeg.size import _as_bytes

SPECS = {spec.name: spec for spec in dagsdk_jpeg.dagsdk_rewards()}


def _rewards(images: Tensor, name: str = "jpeg-incompressibility", **options: Any) -> Tensor:
    reward = SPECS[name].make(JpegOptions(**options), BuildContext())
    return reward(images, [Prompt("")] * len(images))


def _images(count: int = 3, side: int = 32) -> Tensor:
    """The same noise, smoother from image to image."""
    noise = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return torch.cat([0.5 + (noise - 0.5) * 0.5**i for i in range(count)])


def test_two_rewards_without_weights_or_gradients() -> None:
    assert list(SPECS) == ["jpeg-compressibility", "jpeg-incompressibility"]
    for spec in SPECS.values():
        assert not spec.differentiable
        assert spec.weights == ()
        assert isinstance(spec.make(spec.options(), BuildContext()), Reward)


def _pillow(images: Tensor, **options: Any) -> Tensor:
    """kB by Pillow, one image after the other."""
    sizes = []
    for image in images:
        buffer = BytesIO()
        picture = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
        picture.save(buffer, "JPEG", **options)
        sizes.append(len(buffer.getvalue()) / 1000)
    return torch.tensor(sizes)


@pytest.mark.parametrize("quality", [1, 50, 95, 100])
def test_sizes_are_those_of_pillow_in_thousands_of_bytes(quality: int) -> None:
    assert torch.equal(_rewards(_images(), quality=quality), _pillow(_images(), quality=quality))


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_is_pillows(subsampling: str) -> None:
    found = _rewards(_images(), subsampling=subsampling)
    assert torch.equal(found, _pillow(_images(), quality=95, subsampling=subsampling))
    assert torch.equal(found, _rewards(_images())) == (subsampling == "4:2:0")


def test_less_subsampling_takes_more_bytes() -> None:
    full, half, quarter = (_rewards(_images(1), subsampling=s) for s in ("4:4:4", "4:2:2", "4:2:0"))
    assert full > half > quarter


@pytest.mark.parametrize("threads", [0, 1, 2, 5, 100])
@pytest.mark.parametrize(("count", "side"), [(1, 256), (7, 200), (130, 32), (3, 16)])
def test_threads_change_no_size(threads: int, count: int, side: int) -> None:
    images = torch.rand(count, 3, side, side + 8, generator=torch.Generator().manual_seed(count))
    images *= torch.linspace(0.1, 1, count)[:, None, None, None]  # no two of one size
    assert torch.equal(_rewards(images, threads=threads), _pillow(images, quality=95))


def test_the_default_quality_is_95() -> None:
    assert JpegOptions().quality == 95
    assert torch.equal(_rewards(_images()), _rewards(_images(), quality=95))
    assert (_rewards(_images()) > _rewards(_images(), quality=50)).all()


def test_noise_is_larger_than_a_blank_and_the_other_reward_is_the_negative() -> None:
    images = torch.cat([_images(1), torch.full((1, 3, 32, 32), 0.5)])
    noise, blank = _rewards(images)
    assert noise > 2 * blank > 0
    assert torch.equal(_rewards(images, "jpeg-compressibility"), -_rewards(images))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_float32_per_image(count: int) -> None:
    rewards = _rewards(torch.rand(count, 3, 16, 24))
    assert rewards.shape == (count,)
    assert rewards.dtype == torch.float32


def test_bytes_are_rounded() -> None:
    levels = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255
    nudged = (levels + 0.4 / 255 * torch.where(levels < 0.5, 1, -1)).clamp(0, 1)
    assert torch.equal(_rewards(levels), _rewards(nudged))


def test_bytes_are_those_that_every_reward_sees() -> None:
    images = torch.rand(2, 3, 40, 24, generator=torch.Generator().manual_seed(1)) * 1.5 - 0.25
    images[0, 0, 0, :4] = torch.tensor([0.5, 1.5, 2.5, 254.5]) / 255  # halves, as far as there are any
    assert all((_as_bytes(x.numpy()) == y.numpy()).all() for x, y in zip(images, to_uint8(images), strict=True))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 1, 8, 8), (2, 4, 8, 8), (5, 2)])
def test_anything_but_a_batch_of_rgb_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(b, 3, h, w\)"):
        _rewards(torch.zeros(shape))


@pytest.mark.parametrize("subsampling", ["4:1:1", "444", 0])
def test_a_subsampling_that_is_not_offered_is_refused(subsampling: object) -> None:
    with pytest.raises(ConfigError, match="subsampling"):
        structure_options(JpegOptions, {"subsampling": subsampling}, "jpeg")


@pytest.mark.parametrize("threads", [-1, 1.5])
def test_threads_are_counted(threads: object) -> None:
    with pytest.raises((ValueError, TypeError), match="threads"):
        JpegOptions(threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [0, 101, -5, 95.5, "95"])
def test_a_quality_outside_its_range_is_refused(quality: object) -> None:
    with pytest.raises((ValueError, TypeError), match="quality"):
        JpegOptions(quality=quality)  # type: ignore[arg-type]
