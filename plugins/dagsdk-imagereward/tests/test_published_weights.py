"""With the published weights, which need the Hub: rewards of the published scale, in the order of people."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dagsdk import BuildContext, Prompt
from dagsdk_imagereward import ImageRewardOptions
from dagsdk_imagereward.reward import build


def disc(colour: tuple[float, float, float], ground: tuple[float, float, float], side: int = 256) -> Tensor:
    """A disc in the middle of a plain ground, shape (3, side, side)."""
    line = torch.linspace(-1, 1, side)
    inside = line.square()[:, None] + line.square() < 0.4
    return torch.where(inside, torch.tensor(colour)[:, None, None], torch.tensor(ground)[:, None, None])


@pytest.mark.network
def test_drawn_images_have_rewards_of_the_published_scale() -> None:
    reward = build(ImageRewardOptions(), BuildContext())
    red, blue = disc((0.9, 0.1, 0.1), (1.0, 1.0, 1.0)), disc((0.1, 0.1, 0.9), (0.0, 0.0, 0.0))
    grey = torch.full((3, 256, 256), 0.5)
    images = torch.stack([red, blue, grey])
    rewards = torch.stack(
        [
            reward(images, [Prompt(text)] * 3)
            for text in ("a red circle on a white background", "a blue circle on a black background")
        ]
    )
    assert (rewards > -3).all() and (rewards < 2.5).all()
    assert rewards[0].argmax() == 0 and rewards[1].argmax() == 1
    assert reward(grey[None], [Prompt("a photograph of a smiling astronaut riding a white horse")]).item() < -1
