"""ImageReward's network (arXiv 2304.05977), of the parts that transformers has of BLIP (arXiv 2201.12086)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import attrs
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

from dagsdk_imagereward.keys import from_published
from dagsdk_imagereward.sizes import Sizes
from dagsdk_imagereward.sources import check_digest, read_tensors

MEAN, STD = 0.16717362830052426, 1.0333394966054072
"""Of the published model's scores, by which they are standardised (ImageReward/ImageReward.py of its repository)."""

HEAD_WIDTHS = (1024, 128, 64, 16, 1)
HEAD_NAMES = ("0", "2", "4", "6", "7")  # dropout is between the first four layers: no weights, and nothing when frozen


class Network(nn.Module):
    """Image encoder, text encoder that attends to the image, and a head without activations on the first token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.text.hidden_size
        # the defaults of transformers are those of another BLIP: 1e-5, and 8 heads
        vision = BlipVisionConfig(**attrs.asdict(sizes.vision), layer_norm_eps=1e-6)
        text = BlipTextConfig(
            **attrs.asdict(sizes.text),
            encoder_hidden_size=sizes.vision.hidden_size,
            layer_norm_eps=1e-12,
            is_decoder=True,  # for its cross-attention; it is called as an encoder
            bos_token_id=None,  # nothing is generated
            sep_token_id=None,
        )
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        layers = [nn.Linear(*widths) for widths in pairwise((width, *HEAD_WIDTHS))]
        self.head = nn.Sequential(OrderedDict(zip(HEAD_NAMES, layers, strict=True)))

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """Standardised scores, (b,), in the head's dtype.

        pixels: shape (b, 3, side, side), standardised by colour, in the encoders' dtype.
        ids, mask: tokens and which of them are the prompt's: shape (b, 35), int64.
        """
        seen = self.vision(pixel_values=pixels).last_hidden_state
        read = self.text(input_ids=ids, attention_mask=mask, encoder_hidden_states=seen, is_decoder=False)
        first = read.last_hidden_state[:, 0]
        scores: Tensor = self.head(first.to(self.head[0].weight.dtype)).squeeze(-1)
        return (scores - MEAN) / STD


def load_network(path: Path, sha256: str, sizes: Sizes, device: str, dtype: torch.dtype) -> Network:
    """The frozen network with a checkpoint's weights: encoders in `dtype`, the head in float32 at least.

    Raises RewardError for a wrong digest, an unreadable file, and weights that are not the model's.
    """
    check_digest(path, sha256)
    with init_empty_weights(include_buffers=False):
        network = Network(sizes)
    weights = from_published(read_tensors(path), network.state_dict(), str(path))
    network.load_state_dict(weights, assign=True)
    network.vision.to(device, dtype)
    network.text.to(device, dtype)
    network.head.to(device, torch.promote_types(dtype, torch.float32))
    return network.eval().requires_grad_(False)
