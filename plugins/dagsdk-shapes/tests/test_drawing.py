import pytest
import torch

from dagsdk_shapes.attributes import COLOURS, HELD_OUT, SHAPES
from dagsdk_shapes.drawing import UNIT_AREAS, coverage, draw, palette, sample_scenes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pictures_repeat_with_the_seed():
    scenes = sample_scenes(20, generator())
    assert torch.equal(draw(scenes, generator(1)), draw(scenes, generator(1)))
    assert not torch.equal(draw(scenes, generator(1)), draw(scenes, generator(2)))


def test_training_scenes_never_show_held_out_pairs_and_cover_the_rest():
    scenes = sample_scenes(6000, generator())
    shape, colour, background, size = scenes.unbind(1)
    pairs = {(COLOURS[c], SHAPES[s]) for c, s in zip(colour.tolist(), shape.tolist(), strict=True)}
    assert not pairs & HELD_OUT
    assert len(pairs) == len(SHAPES) * len(COLOURS) - len(HELD_OUT)
    assert (colour != background).all()
    assert set(size.tolist()) == {0, 1}
    assert set(background.tolist()) == set(range(8))


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_covered_area_is_the_area_of_the_outline(shape):
    radius = torch.tensor([6.0, 9.0, 10.5])
    angle = torch.tensor([0.3, 1.1, -2.0])
    cover = coverage(torch.full((3,), shape), torch.full((3, 2), 16.3), radius, angle)
    assert torch.allclose(cover.sum((1, 2)), UNIT_AREAS[shape] * radius**2, rtol=0.03)


def test_the_border_is_background_but_for_the_blur_of_a_tip():
    scenes = sample_scenes(2000, generator())
    images = draw(scenes, generator())
    expected = palette()[scenes[:, 2]][:, :, None]
    for edge in (images[:, :, 0], images[:, :, -1], images[..., 0], images[..., -1]):
        away = (edge - expected).abs().amax((1, 2))
        assert away.max() < 0.25
        assert (away > 1e-6).double().mean() < 0.05
    assert images.min() >= 0
    assert images.max() <= 1
