"""Images for rewards, and the check of what rewards return."""

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
            "[0, 1] of shape (b, 3, h, w): this reward is for batches of pictures, not for vectors or single images"
        )
    import torch

    scaled = images.detach().float().clamp(0, 1).mul_(255).round_()  # in place on the copy that clamp made
    return scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def check_rewards(rewards: object, images: Tensor, name: str, prompts: Sequence[Prompt] = ()) -> Tensor:
    """The rewards of b images if they keep the contract: shape (b,), float32, on the images' device.

    Other types of numbers are cast, and tensors on other devices are moved; gradients are kept. Raises RewardError,
    with the name of the reward, for anything but a tensor, for another shape, and for a reward that is not finite
    (with its row and prompt).
    """
    import torch

    expected = (len(images),)
    if not isinstance(rewards, torch.Tensor):
        raise RewardError(
            f"reward {name!r} returned {type(rewards).__name__}; it must return a torch.Tensor of shape "
            f"{expected}: wrap the rewards in torch.tensor(...)"
        )
    if rewards.shape != expected:
        raise RewardError(
            f"reward {name!r} returned shape {tuple(rewards.shape)} for {len(images)} images; it must be "
            f"{expected}, one reward per image: reduce or squeeze the other axes"
        )
    if rewards.is_complex():
        raise RewardError(f"reward {name!r} returned {rewards.dtype}; rewards must be real numbers: cast them")
    rewards = rewards.to(images.device, torch.float32)
    wrong = ~rewards.detach().isfinite()
    if wrong.any():
        row = int(wrong.nonzero()[0])
        of = f" (prompt {prompts[row].text!r})" if row < len(prompts) else ""
        raise RewardError(
            f"reward {name!r} returned {rewards[row].item()} for image {row} of {len(images)}{of}; rewards "
            "must be finite: return a low reward for an image that cannot be judged"
        )
    return rewards
