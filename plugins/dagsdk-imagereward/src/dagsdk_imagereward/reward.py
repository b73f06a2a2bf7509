"""The reward: images and prompts to ImageReward's scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.rewards.shared import shared
from dagsdk.rewards.vision import encoder_input
from dagsdk_imagereward.network import Network, load_network
from dagsdk_imagereward.sizes import read_sizes
from dagsdk_imagereward.sources import locate
from dagsdk_imagereward.tokens import Tokens

if TYPE_CHECKING:
    from dagsdk import BuildContext, Prompt
    from dagsdk_imagereward import ImageRewardOptions


@frozen
class ImageReward:
    """Reward: the standardised score of each image for its prompt, with a gradient to the image.

    Images (b, 3, h, w) in [0, 1] → (b,) float32. Raises ValueError for images of another shape.
    side: edge of the square that the image encoder sees, in pixels. dtype: what the encoders compute in.
    """

    network: Network
    tokens: Tokens
    side: int
    dtype: torch.dtype

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        pixels = encoder_input(images.float(), self.side).to(self.dtype)
        ids, mask = self.tokens([prompt.text for prompt in prompts])
        scores: Tensor = self.network(pixels, ids.to(images.device), mask.to(images.device))
        return scores.float()


def build(options: ImageRewardOptions, context: BuildContext) -> ImageReward:
    """Small things first, so that mistakes show before a large file is fetched. Raises RewardError or ConfigError."""
    sizes = read_sizes(options.config)
    tokens = Tokens(locate("tokenizer", options.tokenizer, "vocab.txt"), sizes.text.vocab_size)
    path = locate("checkpoint", options.checkpoint, options.file, options.revision).resolve()
    network = shared(
        ("imagereward", path, options.sha256, sizes, context.device, context.dtype),
        lambda: load_network(path, options.sha256, sizes, context.device, context.dtype),
    )
    return ImageReward(network, tokens, sizes.vision.image_size, context.dtype)
