import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from dagsdk_shapes.attributes import ATTRIBUTES, IMAGE_SIZE
from dagsdk_shapes.drawing import RADII, coverage, draw, palette, sample_scenes
from dagsdk_shapes.recognition import recognise


@pytest.fixture(scope="module")
def drawn():
    generator = torch.Generator().manual_seed(3)
    scenes = sample_scenes(2400, generator)
    return scenes, draw(scenes, generator)


def accuracy(images, scenes):
    seen = torch.cat([recognise(chunk) for chunk in images.split(200)])
    return dict(zip(ATTRIBUTES, (seen == scenes).double().mean(0).tolist(), strict=True))


def test_drawings_are_recognised(drawn):
    scenes, images = drawn
    assert min(accuracy(images, scenes).values()) >= 0.99


def test_any_rotation_and_place_is_recognised():
    generator = torch.Generator().manual_seed(4)
    scenes = sample_scenes(2000, generator)
    low, high = torch.tensor(RADII)[scenes[:, 3]].unbind(1)
    radius = low + (high - low) * torch.rand(2000, generator=generator)
    room = (IMAGE_SIZE / 2 - 1 - 1.26 * radius)[:, None]
    centre = 16 + room * (2 * torch.rand(2000, 2, generator=generator) - 1)
    cover = coverage(scenes[:, 0], centre, radius, 2 * math.pi * torch.rand(2000, generator=generator))[:, None]
    colour, background = (palette()[scenes[:, column], :, None, None] for column in (1, 2))
    assert min(accuracy(background + cover * (colour - background), scenes).values()) >= 0.99


def test_larger_pictures_are_averaged_down(drawn):
    _, images = drawn
    large = interpolate(images[:100], scale_factor=4)
    assert torch.equal(recognise(large), recognise(images[:100]))


def test_faint_noise_and_blur_hide_no_colour(drawn):
    scenes, images = drawn
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisy = accuracy((images + 0.02 * noise).clamp(0, 1), scenes)
    assert min(noisy.values()) >= 0.97
    blurred = accuracy(avg_pool2d(images, 3, 1, 1, count_include_pad=False), scenes)
    assert blurred["background"] >= 0.99
    assert blurred["colour"] >= 0.9


def test_noise_and_blank_pictures_show_no_shape():
    noise = torch.rand(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = recognise(noise)
    assert (seen[:, [0, 2, 3]] < 0).all()
    blank = palette()[:, :, None, None].expand(-1, -1, 32, 32)
    assert recognise(blank).tolist() == [[-1, -1, code, -1] for code in range(8)]
    grey = torch.full((1, 3, 32, 32), 0.5)
    assert recognise(grey).tolist() == [[-1, -1, -1, -1]]


def test_a_blot_is_no_shape():
    half = torch.zeros(1, 3, 32, 32)
    half[..., 4:28, 14:18] = 1.0  # a bar
    assert recognise(half)[0, 0] == -1


def test_rows_are_independent(drawn):
    _, images = drawn
    together = recognise(images[:40])
    assert torch.equal(together, torch.cat([recognise(image[None]) for image in images[:40]]))
    assert recognise(images[:0]).shape == (0, 4)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 32, 32\)"):
        recognise(torch.zeros(3, 32, 32))
    with pytest.raises(ValueError, match="uint8"):
        recognise(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
