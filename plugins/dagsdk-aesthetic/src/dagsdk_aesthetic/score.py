"""LAION's aesthetic predictor, version 2: a linear head on the image embedding of CLIP ViT-L/14."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.errors import RewardError
from dagsdk_clip.encoder import Encoder
from dagsdk_clip.files import tensors

if TYPE_CHECKING:
    from dagsdk import Prompt

LAYERS = (0, 2, 4, 6, 7)
"""Of the checkpoint; those between are dropout, which scores without."""
WIDTHS = (1024, 128, 64, 16, 1)
"""What each layer gives. The first takes the embedding, of width 768 as published."""


@frozen(eq=False)
class Head:
    """Embeddings (b, d) → (b,), float32: embeddings · vector + bias."""

    vector: Tensor
    bias: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.vector + self.bias

    def to(self, device: str) -> Head:
        return Head(self.vector.to(device), self.bias.to(device))


def read_head(path: Path) -> Head:
    """The published MLP of linear layers without activations is one linear map; folded in float64.

    Raises RewardError for a file that is damaged, lacks a layer, has another, or has one of another shape.
    """
    found = tensors(path)
    names = {f"layers.{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")}
    for what, wrong in (("lacks", names - found.keys()), ("has unknown", found.keys() - names)):
        if wrong:
            raise RewardError(
                f"head is {str(path)!r}, which {what} {', '.join(sorted(wrong))}; it must have weight and bias "
                f"of layers {', '.join(map(str, LAYERS))}: give sac+logos+ava1-l14-linearMSE.pth or a file like it"
            )
    width = (0, *found["layers.0.weight"].shape)[-1]
    vector, bias = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for layer, inside, outside in zip(LAYERS, (width, *WIDTHS), WIDTHS, strict=False):
        weight, offset = (found[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
        if weight.shape != (outside, inside) or offset.shape != (outside,):
            raise RewardError(
                f"head is {str(path)!r}, whose layers.{layer} has a weight of shape {tuple(weight.shape)} and a bias "
                f"of {tuple(offset.shape)}; they must be {(outside, inside)} and {(outside,)}: give another file"
            )
        vector, bias = weight.double() @ vector, weight.double() @ bias + offset.double()
    return Head(vector[0].float(), bias[0].float())


class AestheticScore:
    """Reward: the head's score of each image's embedding; the prompts do not count.

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
