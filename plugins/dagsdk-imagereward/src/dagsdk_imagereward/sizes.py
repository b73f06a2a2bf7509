"""The sizes of the networks: as published, or as a JSON file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen
from attrs.validators import ge

from dagsdk.config.components import structure_options
from dagsdk.errors import RewardError

TOKENS = 35
"""Tokens of a prompt: longer ones are cut, shorter ones padded."""


def _divides(instance: Any, attribute: Attribute[int], value: int) -> None:
    if value < 1 or instance.hidden_size % value:
        raise ValueError(f"{value} does not divide hidden_size {instance.hidden_size}; choose a divisor")


def _patches(instance: Any, attribute: Attribute[int], value: int) -> None:
    if value < 1 or instance.image_size % value:
        raise ValueError(f"{value} does not divide image_size {instance.image_size}; choose a divisor")


@frozen(kw_only=True)
class VisionSizes:
    """Sizes of the image encoder, a ViT-L/16 by default. image_size, patch_size: edges of squares, in pixels."""

    hidden_size: int = field(default=1024, validator=ge(1))
    intermediate_size: int = field(default=4096, validator=ge(1))
    num_hidden_layers: int = field(default=24, validator=ge(1))
    num_attention_heads: int = field(default=16, validator=_divides)
    image_size: int = field(default=224, validator=ge(1))
    patch_size: int = field(default=16, validator=_patches)


@frozen(kw_only=True)
class TextSizes:
    """Sizes of the text encoder, BERT-base by default. vocab_size counts [DEC] and [ENC], which BLIP adds."""

    vocab_size: int = field(default=30524, validator=ge(3))
    hidden_size: int = field(default=768, validator=ge(1))
    intermediate_size: int = field(default=3072, validator=ge(1))
    num_hidden_layers: int = field(default=12, validator=ge(1))
    num_attention_heads: int = field(default=12, validator=_divides)
    max_position_embeddings: int = field(default=512, validator=ge(TOKENS))


@frozen(kw_only=True)
class Sizes:
    """Sizes of both. The default is the published model: BLIP with ViT-L/16 (arXiv 2201.12086) at 224 pixels."""

    vision: VisionSizes = VisionSizes()
    text: TextSizes = TextSizes()


def read_sizes(config: str) -> Sizes:
    """The sizes in a JSON file with the objects "vision" and "text"; keys that are left out are as published.

    "" gives the published sizes. Raises RewardError for a file that cannot be read, and ConfigError for wrong sizes.
    """
    if not config:
        return Sizes()
    try:
        table = json.loads(Path(config).expanduser().read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError(f"it holds a {type(table).__name__}, not an object")
    except (OSError, ValueError) as error:
        raise RewardError(
            f"reward 'imagereward': config is {config!r}, which cannot be read as JSON ({error}); "
            'give the path of a JSON file with the objects "vision" and "text", or "" for the published sizes'
        ) from error
    sizes: Sizes = structure_options(Sizes, table, source=f"reward 'imagereward', config {config!r}")
    return sizes
