"""ImageReward's network (arXiv 2304.05977), made of the BLIP (arXiv 2201.12086) of transformers."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import attrs
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from dagsdk.rewards.weights import read_weights
from dagsdk_imagereward.keys import from_published
from dagsdk_imagereward.sizes import Sizes

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the published model's outputs, which are standardised by them (ImageReward/ImageReward.py of its repository)."""

HEAD_WIDTHS = (1024, 128, 64, 16, 1)
HEAD_NAMES = ("0", "2", "4", "6", "7")  # the numbers left out are dropout, which has no weights


class Network(nn.Module):
    """An image encoder, a text encoder that attends to the image, and a linear head on the first token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.text.hidden_size
        # transformers has the defaults of another BLIP
        vision = BlipVisionConfig(**attrs.asdict(sizes.vision), layer_norm_eps=1e-6)
        text = BlipTextConfig(
            **attrs.asdict(sizes.text),
            encoder_hidden_size=sizes.vision.hidden_size,
            layer_norm_eps=1e-12,
            is_decoder=True,  # so that it has cross-attention; it is called as an encoder
            bos_token_id=None,  # nothing is generated
            sep_token_id=None,
        )
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        layers = [nn.Linear(*widths) for widths in pairwise((width, *HEAD_WIDTHS))]
        self.head = nn.Sequential(OrderedDict(zip(HEAD_NAMES, layers, strict=True)))

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Standardised rewards, (b,), in the head's dtype.

        pixels: shape (b, 3, side, side), standardised by colour, in the encoders' dtype.
        ids, mask: tokens and which of them are the prompt's: shape (b, 35), int64.
        """
        seen = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen, is_decoder=False)
        first = read.last_hidden_state[:, 0]
        rewards: Tensor = self.head(first.to(self.head[0].weight.dtype)).squeeze(-1)
        return (rewards - MEAN) / STD


def load_network(path: Path, sizes: Sizes, device: str, dtype: torch.dtype) -> Network:
    """The frozen network with a checkpoint's weights: encoders in `dtype`, the head in float32 or wider.

    Raises RewardError for a file that cannot be read, and for weights that are not the model's.
    """
    with init_empty_weights(include_buffers=False):
        network = Network(sizes)
    weights = from_published(read_weights(path), network.state_dict(), str(path))
    network.load_state_dict(weights, assign=True)
    network.vision.to(device, dtype)
    network.text.to(device, dtype)
    network.head.to(device, torch.promote_types(dtype, torch.float32))
    return network.eval().requires_grad_(False)
