"""What a reward is: images and their prompts to scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dagsdk.prompts.protocol import Prompt

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Reward(Protocol):
    """Scores images; higher is better.

    images: shape (b, 3, h, w), float32 in [0, 1] (for a model of plain vectors: shape (b, d), any range).
    prompts: b of them, one an image.
    returns: shape (b,), float32, finite. Row i depends on row i only, and the images are not modified.

    A reward may also have a method ``metrics() -> Mapping[str, float]``: what it has counted since the last call, such
    as questions that a server left unanswered. The engine sums it over the processes into the epoch's figures, as
    ``reward/NAME/KEY``.
    """

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor: ...
