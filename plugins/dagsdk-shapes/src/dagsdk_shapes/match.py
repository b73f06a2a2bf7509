"""The reward `shapes-match`: does the image show what its caption names?"""

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

    strict: the reward is 1 where every named attribute is right and 0 elsewhere, instead of the share that is right.
    """

    strict: bool = False


class Match:
    """Reward: the share of the attributes named by the prompt that the image has: 0, 1/4, 1/3, ... 1.

    The attributes are those in the prompt's metadata or, without any, those that its text names. For a prompt that
    names none, the reward is 1 where any of the six shapes is recognised, and 0 elsewhere.
    """

    def __init__(self, options: MatchOptions | None = None) -> None:
        self.options = options or MatchOptions()

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        """Images (b, 3, h, w), floating point in [0, 1] → (b,), float32 in [0, 1].

        Raises ValueError for images of another shape, and for metadata with a value that its attribute cannot have.
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
        return (share == 1).float() if self.options.strict else share


def named(prompt: Prompt) -> Attributes:
    """The attributes that a prompt names, in its metadata or, without any there, in its text."""
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
