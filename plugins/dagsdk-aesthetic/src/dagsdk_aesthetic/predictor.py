"""LAION's aesthetic predictor, version 2: a linear head on the image embedding of CLIP ViT-L/14."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from dagsdk.errors import RewardError
from dagsdk_aesthetic.head import Head, load_head
from dagsdk_clip.encoder import Encoder, load_encoder

if TYPE_CHECKING:
    from dagsdk import BuildContext, Prompt
    from dagsdk_aesthetic import AestheticOptions


class AestheticPredictor:
    """Reward: the head applied to each image's embedding. Prompts have no influence.

    Images (b, 3, h, w) in [0, 1] → (b,), float32, with gradient. Raises RewardError for a head of another width than
    the encoder's, and ValueError for images of another shape.
    """

    def __init__(self, encoder: Encoder, head: Head) -> None:
        width = encoder.embed_texts([""]).shape[1]
        if len(head.vector) != width:
            raise RewardError(
                f"the head takes embeddings of width {len(head.vector)}, and the CLIP gives {width}; they must be the "
                "same (768 for ViT-L-14): change `head`, or `architecture` and `weights`"
            )
        self.encoder, self.head = encoder, head

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        return self.head(self.encoder.embed_images(images))


def build(options: AestheticOptions, context: BuildContext) -> AestheticPredictor:
    """Raises RewardError for weights that are missing, damaged, or do not fit."""
    head = load_head(options.head, options.sha256)  # before the encoder, which takes longer
    return AestheticPredictor(load_encoder(options.architecture, options.weights, context), head.to(context.device))
