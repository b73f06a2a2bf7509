"""Small images and prompts that differ from one another: what components are tested with."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.prompts.protocol import Prompt

PROMPTS = (
    Prompt("a photo of a cat"),
    Prompt(""),
    Prompt("ein großer Bär malt 北京 ✨🐻"),
    Prompt("two dogs, and a very long tail of words " * 20),
)
"""A plain one, an empty one, one beyond ASCII, and one longer than text encoders take."""


def images(count: int = 4, side: int = 32, seed: int = 0) -> Tensor:
    """Images of noise, a smooth gradient, one flat colour and a disc, in turn.

    Shape (count, 3, side, side), float32 in [0, 1], drawn from a generator of their own.
    """
    generator = torch.Generator().manual_seed(seed)
    line = torch.linspace(0, 1, side)
    down, across = torch.meshgrid(line, line, indexing="ij")
    disc = ((down - 0.5).square() + (across - 0.5).square() < 0.1).float()
    pictures = []
    for i in range(count):
        first, second = torch.rand(2, 3, 1, 1, generator=generator)
        match i % 4:
            case 0:
                picture = torch.rand(3, side, side, generator=generator)
            case 1:
                picture = first * down + (1 - first) * across
            case 2:
                picture = first.expand(3, side, side)
            case _:
                picture = disc * first + (1 - disc) * second
        pictures.append(picture)
    return torch.stack(pictures).clamp(0, 1)


def prompts(count: int = 4) -> tuple[Prompt, ...]:
    """So many prompts: `PROMPTS` in turn."""
    return tuple(PROMPTS[i % len(PROMPTS)] for i in range(count))
