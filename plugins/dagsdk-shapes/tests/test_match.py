import pytest
import torch

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes.attributes import ATTRIBUTES
from dagsdk_shapes.captions import write
from dagsdk_shapes.drawing import describe, draw, sample_scenes
from dagsdk_shapes.match import Match, MatchOptions


@pytest.fixture(scope="module")
def star():
    # a large white star on a blue background
    scene = torch.tensor([[3, 6, 2, 1]])
    return draw(scene, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("text", "share", "strict"),
    [
        ("a large white star on a blue background", 1, 1),
        ("a small white star on a blue background", 3 / 4, 0),
        ("a small red star", 1 / 3, 0),
        ("a red ring", 0, 0),
        ("a star", 1, 1),
        ("a shape", 1, 1),
        ("whatever", 1, 1),
    ],
)
def test_the_reward_is_the_share_of_named_attributes(star, text, share, strict):
    assert Match()(star, [Prompt(text)]).item() == pytest.approx(share)
    assert Match(MatchOptions(strict=True))(star, [Prompt(text)]).item() == strict


def test_metadata_comes_before_text(star):
    assert Match()(star, [Prompt("a ring", {"shape": "star"})]) == 1
    assert Match()(star, [Prompt("a star", {"shape": "ring", "note": 3})]) == 0
    assert Match()(star, [Prompt("a star", {"note": 3})]) == 1
    with pytest.raises(ValueError, match="shape is 'blob'"):
        Match()(star, [Prompt("a star", {"shape": "blob"})])


def test_every_drawing_matches_its_own_caption_and_no_other_colour():
    generator = torch.Generator().manual_seed(1)
    scenes = sample_scenes(300, generator)
    images = draw(scenes, generator)
    assert Match()(images, [Prompt(write(describe(scene))) for scene in scenes]).mean() > 0.99
    scenes[:, 1] = (scenes[:, 1] + 1) % len(ATTRIBUTES["colour"])
    wrong = Match()(images, [Prompt("", {"colour": describe(scene).colour}) for scene in scenes])
    assert wrong.max() == 0


def test_rewards_keep_the_contract():
    rewards = Match()(torch.rand(4, 3, 32, 32), [Prompt("a star")] * 4)
    assert rewards.shape == (4,)
    assert rewards.dtype == torch.float32
    assert Match()(torch.zeros(0, 3, 32, 32), []).shape == (0,)
    assert Match()(torch.zeros(1, 3, 32, 32), [Prompt("a shape")]) == 0
    with pytest.raises(ValueError, match="2 images with 1 prompts"):
        Match()(torch.zeros(2, 3, 32, 32), [Prompt("a star")])
