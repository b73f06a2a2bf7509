"""ImageReward (arXiv 2304.05977) for images and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.rewards.shared import shared
from dagsdk.rewards.vision import encoder_input
from dagsdk.rewards.weights import find_weights
from dagsdk_imagereward.network import Network, load_network
from dagsdk_imagereward.sizes import read_sizes
from dagsdk_imagereward.tokens import Tokens

if TYPE_CHECKING:
    from dagsdk import BuildContext, Prompt
    from dagsdk_imagereward import ImageRewardOptions


@frozen
class ImageReward:
    """Reward: the standardised output of the network for each image and its prompt, with gradient to the image.

    Images (b, 3, h, w) in [0, 1] → (b,), float32. Raises ValueError for images of another shape.

    side: edge of the square that the image encoder sees, in pixels.
    dtype: what the encoders compute in.
    """

    network: Network
    tokens: Tokens
    side: int
    dtype: torch.dtype

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        pixels = encoder_input(images.float(), self.side).to(self.dtype)
        ids, mask = self.tokens([prompt.text for prompt in prompts])
        rewards: Tensor = self.network(pixels, ids.to(images.device), mask.to(images.device))
        return rewards.float()


def build(options: ImageRewardOptions, context: BuildContext) -> ImageReward:
    """The reward. Small files come first, so that mistakes show before a large one is fetched.

    Raises RewardError for files that are missing or do not fit, and ConfigError for what `config` holds.
    """
    sizes = read_sizes(options.config)
    tokens = Tokens(find_weights(options.tokenizer, option="tokenizer", file="vocab.txt"), sizes.text.vocab_size)
    path = find_weights(
        options.checkpoint,
        option="checkpoint",
        file=options.file,
        revision=options.revision,
        sha256=options.sha256,
    ).resolve()
    network = shared(
        ("imagereward", path, sizes, context.device, context.dtype),
        lambda: load_network(path, sizes, context.device, context.dtype),
    )
    return ImageReward(network, tokens, sizes.vision.image_size, context.dtype)
