"""Rewards that are cosines of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen
from torch import Tensor

from dagsdk.rewards.weights import find_weights
from dagsdk_clip.encoder import Encoder, load_encoder

if TYPE_CHECKING:
    from dagsdk import BuildContext, Prompt
    from dagsdk_clip.options import ClipScoreOptions, HpsOptions

HPS_REPOSITORY, HPS_FILE = "xswu/HPSv2", "HPS_v2.1_compressed.pt"
HPS_REVISION = "697403c78157020a1ae59d23f111aa58ced35b0a"
HPS_SHA256 = "c57a38fb4a2f7e7c15bf00da2ea377cdf165448b4dd1052a484c215a998c9837"
"""As the Hub shows them for the commit that added the file (1 972 490 005 bytes)."""


@frozen(eq=False)
class CosineReward:
    """Reward: scale · cos(image, text). Images (b, 3, h, w) in [0, 1] → (b,), float32, with gradient.

    template: the text that is embedded for a prompt; {prompt} is where the prompt goes.

    Raises ValueError for images of another shape.
    """

    encoder: Encoder
    scale: float = 1.0
    template: str = "{prompt}"

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        # not str.format: prompts and templates may have other braces
        texts = self.encoder.embed_texts([self.template.replace("{prompt}", prompt.text) for prompt in prompts])
        return self.scale * (self.encoder.embed_images(images) * texts).sum(dim=1)


def clip_score(options: ClipScoreOptions, context: BuildContext) -> CosineReward:
    """Raises RewardError like `load_encoder`."""
    encoder = load_encoder(options.architecture, options.weights, context, sha256=options.sha256)
    return CosineReward(encoder, options.scale, options.template)


def hpsv2(options: HpsOptions, context: BuildContext) -> CosineReward:
    """Raises RewardError like `load_encoder`."""
    weights, sha256 = options.weights, options.sha256
    if not weights:
        weights = str(find_weights(HPS_REPOSITORY, option="weights", file=HPS_FILE, revision=HPS_REVISION))
        sha256 = sha256 or HPS_SHA256
    return CosineReward(load_encoder(options.architecture, weights, context, sha256=sha256))
