"""The protocol of rewards: images and their prompts to numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from dagsdk.prompts.protocol import Prompt

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Reward(Protocol):
    """Rewards images; higher is better.

    images: shape (b, 3, h, w), float32 in [0, 1] (for a model of plain vectors: shape (b, d), any range).
    prompts: b of them, one per image.
    returns: shape (b,), float32, finite. Row i depends only on image and prompt i, and the images are not modified.

    A reward may also have a method ``metrics() -> Mapping[str, float]``: counts since the last call, such as questions
    that a server left unanswered. The engine sums them over all processes into the epoch's metrics, as
    ``reward/NAME/KEY``.
    """

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor: ...
