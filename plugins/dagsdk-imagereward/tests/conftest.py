"""A small model with random weights in the published layout, written by modules that know nothing of transformers.

The modules follow the papers (ViT: arXiv 2010.11929; BERT: 1810.04805; BLIP: 2201.12086; ImageReward: 2304.05977) and
call their weights what the published checkpoint calls them.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import asdict, frozen
from torch import Tensor, nn

from dagsdk_imagereward.sizes import Sizes, TextSizes, VisionSizes

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", ",", ".", "!"]
WORDS += [*(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "red", "cat", "green", "dog", "##s"]
SIZES = Sizes(
    vision=VisionSizes(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4, image_size=48, patch_size=16
    ),
    text=TextSizes(
        vocab_size=len(dict.fromkeys(WORDS)) + 2,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=40,
    ),
)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d) v of each head. query (b, n, w), key and value (b, m, w); mask (b, m): which keys are seen."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    logits = torch.einsum("bhnd,bhmd->bhnm", q, k) / q.shape[-1] ** 0.5
    if mask is not None:
        logits = logits.masked_fill(~mask.bool()[:, None, None], -torch.inf)
    return torch.einsum("bhnm,bhmd->bhnd", logits.softmax(-1), v).transpose(1, 2).flatten(2)


def named(**modules: nn.Module) -> nn.Module:
    parent = nn.Module()
    for name, module in modules.items():
        parent.add_module(name, module)
    return parent


class Plain(nn.Module):
    """ImageReward. (pixels, ids, mask) → rewards (b,)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        v, t = sizes.vision, sizes.text
        self.heads = v.num_attention_heads, t.num_attention_heads
        w, x = v.hidden_size, t.hidden_size

        def norm(width: int, eps: float) -> nn.LayerNorm:
            return nn.LayerNorm(width, eps=eps)

        def block() -> nn.Module:
            return named(
                norm1=norm(w, 1e-6),
                attn=named(qkv=nn.Linear(w, 3 * w), proj=nn.Linear(w, w)),
                norm2=norm(w, 1e-6),
                mlp=named(fc1=nn.Linear(w, v.intermediate_size), fc2=nn.Linear(v.intermediate_size, w)),
            )

        visual = named(
            patch_embed=named(proj=nn.Conv2d(3, w, v.patch_size, v.patch_size)),
            blocks=nn.ModuleList(block() for _ in range(v.num_hidden_layers)),
            norm=norm(w, 1e-6),
        )
        visual.cls_token = nn.Parameter(torch.zeros(1, 1, w))
        visual.pos_embed = nn.Parameter(torch.zeros(1, (v.image_size // v.patch_size) ** 2 + 1, w))

        def attend(source: int) -> nn.Module:
            inner = named(query=nn.Linear(x, x), key=nn.Linear(source, x), value=nn.Linear(source, x))
            return named(self=inner, output=named(dense=nn.Linear(x, x), LayerNorm=norm(x, 1e-12)))

        def layer() -> nn.Module:
            return named(
                attention=attend(x),
                crossattention=attend(w),
                intermediate=named(dense=nn.Linear(x, t.intermediate_size)),
                output=named(dense=nn.Linear(t.intermediate_size, x), LayerNorm=norm(x, 1e-12)),
            )

        embeddings = named(
            word_embeddings=nn.Embedding(t.vocab_size, x),
            position_embeddings=nn.Embedding(t.max_position_embeddings, x),
            LayerNorm=norm(x, 1e-12),
        )
        embeddings.register_buffer("position_ids", torch.arange(t.max_position_embeddings)[None])
        text = named(
            embeddings=embeddings, encoder=named(layer=nn.ModuleList(layer() for _ in range(t.num_hidden_layers)))
        )
        # the last two are in the published file and are not used by the reward
        self.blip = named(
            visual_encoder=visual, text_encoder=text, vision_proj=nn.Linear(w, 8), text_proj=nn.Linear(x, 8)
        )
        widths = [x, 1024, 128, 64, 16, 1]
        dense = [nn.Linear(a, b) for a, b in pairwise(widths)]
        drop = nn.Dropout(0.2)
        self.mlp = named(layers=nn.Sequential(dense[0], drop, dense[1], drop, dense[2], drop, dense[3], dense[4]))
        self.eval()

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        visual, text = self.blip.visual_encoder, self.blip.text_encoder
        h = visual.patch_embed.proj(pixels).flatten(2).mT
        h = torch.cat([visual.cls_token.expand(len(h), -1, -1), h], 1) + visual.pos_embed
        for block in visual.blocks:
            h = h + block.attn.proj(attention(*block.attn.qkv(block.norm1(h)).chunk(3, -1), self.heads[0]))
            h = h + block.mlp.fc2(nn.functional.gelu(block.mlp.fc1(block.norm2(h))))
        h = visual.norm(h)

        known = text.embeddings
        y = known.word_embeddings(ids) + known.position_embeddings.weight[: ids.shape[1]]
        y = known.LayerNorm(y)
        for layer in text.encoder.layer:
            for part, source, seen in ((layer.attention, None, mask), (layer.crossattention, h, None)):
                inner, other = part.self, y if source is None else source
                mixed = attention(inner.query(y), inner.key(other), inner.value(other), self.heads[1], seen)
                y = part.output.LayerNorm(part.output.dense(mixed) + y)
            inner = layer.output.dense(nn.functional.gelu(layer.intermediate.dense(y)))
            y = layer.output.LayerNorm(inner + y)
        return (self.mlp.layers(y[:, 0])[:, 0] - 0.16717362830052426) / 1.0333394966054072


@frozen
class Small:
    """A small published model in a folder: checkpoint, vocabulary and sizes."""

    folder: Path
    plain: Plain

    @property
    def options(self) -> dict[str, Any]:
        """As a run file gives them."""
        return {
            "checkpoint": str(self.folder / "ImageReward.pt"),
            "sha256": "",
            "tokenizer": str(self.folder),
            "config": str(self.folder / "sizes.json"),
        }


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(WORDS)))
    (folder / "sizes.json").write_text(json.dumps(asdict(SIZES)))
    plain = Plain(SIZES)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            # so large that attention is far from uniform, and rewards of the size of published ones
            scale = 0.1 if weight.ndim == 1 or name.startswith("mlp.layers.0") else 1.6 / weight[0].numel() ** 0.5
            weight.copy_(scale * torch.randn(weight.shape, generator=draws))
            if "norm" in name.lower() and name.endswith("weight"):
                weight += 1
    torch.save(plain.state_dict(), folder / "ImageReward.pt")
    return Small(folder, plain.requires_grad_(False))
