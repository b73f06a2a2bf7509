"""The key map: complete on both sides, for the published sizes too, and an error for anything left over."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dagsdk.errors import RewardError
from dagsdk_imagereward.keys import UNUSED, from_published, published_name
from dagsdk_imagereward.network import Network
from dagsdk_imagereward.sizes import Sizes, read_sizes


def pairs(*names: str) -> set[str]:
    return {f"{name}.{part}" for name in names for part in ("weight", "bias")}


def by_rule() -> set[str]:
    """The weights of the published checkpoint: ViT-L/16, BERT-base with cross-attention, the head."""
    visual, text = "blip.visual_encoder", "blip.text_encoder"
    names = {f"{visual}.cls_token", f"{visual}.pos_embed"} | pairs(f"{visual}.patch_embed.proj", f"{visual}.norm")
    for i in range(24):
        parts = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        names |= pairs(*(f"{visual}.blocks.{i}.{part}" for part in parts))
    names |= {f"{text}.embeddings.{kind}_embeddings.weight" for kind in ("word", "position")}
    names |= pairs(f"{text}.embeddings.LayerNorm")
    attention = ("self.query", "self.key", "self.value", "output.dense", "output.LayerNorm")
    for i in range(12):
        parts = (f"{kind}.{part}" for kind in ("attention", "crossattention") for part in attention)
        rest = ("intermediate.dense", "output.dense", "output.LayerNorm")
        names |= pairs(*(f"{text}.encoder.layer.{i}.{part}" for part in (*parts, *rest)))
    return names | pairs(*(f"mlp.layers.{i}" for i in (0, 2, 4, 6, 7)))


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    """The state of the network of published size, without memory."""
    with torch.device("meta"):
        return Network(Sizes()).state_dict()


def test_the_published_names_are_those_by_rule(published: dict[str, torch.Tensor]) -> None:
    names = [published_name(name) for name in published]
    assert len(names) == len(set(names)) == 620
    assert set(names) == by_rule()


def test_the_published_shapes(published: dict[str, torch.Tensor]) -> None:
    shapes = {published_name(name): tuple(tensor.shape) for name, tensor in published.items()}
    assert shapes["blip.visual_encoder.pos_embed"] == (1, 197, 1024)
    assert shapes["blip.visual_encoder.patch_embed.proj.weight"] == (1024, 3, 16, 16)
    assert shapes["blip.visual_encoder.blocks.23.attn.qkv.weight"] == (3072, 1024)
    assert shapes["blip.text_encoder.embeddings.word_embeddings.weight"] == (30524, 768)
    assert shapes["blip.text_encoder.encoder.layer.11.crossattention.self.key.weight"] == (768, 1024)
    assert [shapes[f"mlp.layers.{i}.weight"] for i in (0, 2, 4, 6, 7)] == [
        (1024, 768),
        (128, 1024),
        (64, 128),
        (16, 64),
        (1, 16),
    ]
    assert sum(tensor.numel() for tensor in published.values()) == 446_206_689


def test_the_published_configuration() -> None:
    with torch.device("meta"):
        network = Network(Sizes())
    vision, text = network.vision.config, network.text.config
    assert (vision.layer_norm_eps, text.layer_norm_eps) == (1e-6, 1e-12)
    assert (vision.num_attention_heads, text.num_attention_heads) == (16, 12)
    assert (vision.image_size, vision.patch_size, text.encoder_hidden_size) == (224, 16, 1024)
    assert vision.hidden_act == text.hidden_act == "gelu"


def test_a_small_checkpoint_maps_without_rest(small: Any) -> None:
    weights = small.plain.state_dict()
    assert weights.keys() > UNUSED  # and they are passed over
    wanted = Network(read_sizes(small.options["config"])).state_dict()
    mapped = from_published(weights, wanted, "here")
    assert mapped.keys() == wanted.keys()
    assert from_published({k: v for k, v in weights.items() if k not in UNUSED}, wanted, "here").keys() == wanted.keys()
    for name, tensor in mapped.items():
        assert tensor is weights[published_name(name)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mlp.layers.7.bias": None}, r"1 missing \(mlp.layers.7.bias\)"),
        ({"blip.visual_encoder.blocks.3.norm1.bias": 1}, r"1 unknown \(blip.visual_encoder.blocks.3.norm1.bias\)"),
        ({"blip.itm_head.weight": 1, "blip.temp": 1}, r"2 unknown \(blip.itm_head.weight, blip.temp\)"),
        ({"mlp.layers.7.weight": 3}, r"1 of another shape \(mlp.layers.7.weight \(3,\) and not \(1, 16\)\)"),
        ({"blip.visual_encoder.cls_token": None, "x": 1}, r"1 missing .*; 1 unknown \(x\); give ImageReward.pt"),
    ],
)
def test_anything_left_over_on_either_side_is_one_error(small: Any, change: dict[str, Any], says: str) -> None:
    weights = dict(small.plain.state_dict())
    for name, length in change.items():
        if length is None:
            del weights[name]
        else:
            weights[name] = torch.zeros(length)
    with pytest.raises(RewardError, match=says):
        from_published(weights, Network(read_sizes(small.options["config"])).state_dict(), "here")
