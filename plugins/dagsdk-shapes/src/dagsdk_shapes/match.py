"""The reward `shapes-match`: does the picture show what its caption names?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from attrs import frozen

from dagsdk_shapes.attributes import ATTRIBUTES, Attributes
from dagsdk_shapes.captions import read

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt


@frozen(kw_only=True)
class MatchOptions:
    """Options of `shapes-match`.

    strict: score 1 only where every named attribute is right, else 0, instead of the share that is right.
    """

    strict: bool = False


class Match:
    """Share of the attributes named by the prompt that the picture has: 0, 1/4, 1/3, ... 1.

    The attributes are those in the prompt's metadata, else those that its text names. A prompt that names
    none scores 1 where any of the six shapes is recognised, else 0. A prompt's metadata may hold other keys;
    a value that its attribute cannot have is a ValueError.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        """Scores, shape (b,), float32 in [0, 1].

        images: shape (b, 3, h, w), floating point in [0, 1]
        """
        import torch

        from dagsdk_shapes.recognition import recognise

        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images with {len(prompts)} prompts; each image has one prompt")
        seen = recognise(images)
        rows = [_codes(tuple(named(prompt).named().items())) for prompt in prompts]
        asked = torch.tensor(rows, dtype=torch.int64, device=seen.device).reshape(-1, len(ATTRIBUTES))
        is_named = asked >= 0
        right = ((seen == asked) & is_named).sum(1)
        count = is_named.sum(1)
        share = torch.where(count > 0, right / count.clamp(min=1), (seen[:, 0] >= 0).float())
        return (share == 1).float() if self.strict else share


def named(prompt: Prompt) -> Attributes:
    """The attributes that a prompt names: in its metadata, else in its text."""
    given = {name: prompt.metadata[name] for name in ATTRIBUTES if prompt.metadata.get(name) is not None}
    if not given:
        return read(prompt.text)
    for name, value in given.items():
        if value not in ATTRIBUTES[name]:
            raise ValueError(
                f"prompt {prompt.text!r}: {name} is {value!r} in its metadata; it must be one of "
                f"{', '.join(ATTRIBUTES[name])}; correct it or leave it out"
            )
    return Attributes(**given)


@lru_cache(maxsize=4096)
def _codes(values: tuple[tuple[str, str], ...]) -> tuple[int, ...]:
    """Codes in the order of `ATTRIBUTES`, -1 where unnamed."""
    given = dict(values)
    return tuple(options.index(given[name]) if name in given else -1 for name, options in ATTRIBUTES.items())
