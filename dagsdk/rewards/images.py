"""Images as rewards see them, and scores as the engine takes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dagsdk.errors import RewardError

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt


def to_uint8(images: Tensor) -> Tensor:
    """round(255 x) of images (b, 3, h, w) in [0, 1], as PIL takes them: shape (b, h, w, 3), uint8.

    Halves round to the even neighbour; values outside [0, 1] are clamped. Raises ValueError for other shapes
    and for images that are not floating point.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; they must be floating point in "
            "[0, 1] of shape (b, 3, h, w): this reward scores pictures, not vectors or single images"
        )
    import torch

    scaled = images.detach().float().clamp(0, 1).mul_(255).round_()  # in place on the copy that clamp made
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def check_scores(scores: object, images: Tensor, name: str, prompts: Sequence[Prompt] = ()) -> Tensor:
    """A reward's scores of b images, if they keep the contract: shape (b,), float32, on the images' device.

    Other number types are cast and other devices are moved from; gradients stay. Raises RewardError, naming
    the reward, for anything but a tensor, for another shape, and for a score that is not finite (with its row
    and prompt).
    """
    import torch

    expected = (len(images),)
    if not isinstance(scores, torch.Tensor):
        raise RewardError(
            f"reward {name!r} returned {type(scores).__name__}; it must return a torch.Tensor of shape "
            f"{expected}: wrap the scores in torch.tensor(...)"
        )
    if scores.shape != expected:
        raise RewardError(
            f"reward {name!r} returned shape {tuple(scores.shape)} for {len(images)} images; it must be "
            f"{expected}, one score an image: reduce or squeeze the other axes"
        )
    if scores.is_complex():
        raise RewardError(f"reward {name!r} returned {scores.dtype}; scores must be real numbers: cast them")
    scores = scores.to(images.device, torch.float32)
    wrong = ~scores.detach().isfinite()
    if wrong.any():
        row = int(wrong.nonzero()[0])
        of = f" (prompt {prompts[row].text!r})" if row < len(prompts) else ""
        raise RewardError(
            f"reward {name!r} returned {scores[row].item()} for image {row} of {len(images)}{of}; scores "
            "must be finite: return a low score for an image that cannot be judged"
        )
    return scores
