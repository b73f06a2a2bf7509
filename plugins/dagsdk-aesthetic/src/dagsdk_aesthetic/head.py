"""The head of LAION's aesthetic predictor, version 2: linear layers, folded into one linear map."""

from __future__ import annotations

from pathlib import Path

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.errors import RewardError
from dagsdk.rewards.weights import load_weights

REPOSITORY, FILE = "trl-lib/ddpo-aesthetic-predictor", "aesthetic-model.pth"
SHA256 = "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"
"""Of sac+logos+ava1-l14-linearMSE.pth (3 714 759 bytes), under any name; several repositories have the same file."""

LAYERS = (0, 2, 4, 6, 7)
"""Of the checkpoint. Between them is dropout, which does nothing after training."""
WIDTHS = (1024, 128, 64, 16, 1)
"""Outputs of each layer. The first layer takes the embedding, of width 768 as published."""


@frozen(eq=False)
class Head:
    """Embeddings (b, d) → (b,), float32: embeddings · vector + bias."""

    vector: Tensor
    bias: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.vector + self.bias

    def to(self, device: str) -> Head:
        return Head(self.vector.to(device), self.bias.to(device))


def load_head(path: str | Path = "", sha256: str = "") -> Head:
    """A head's five linear layers, which have no activations in between, as one linear map; folded in float64.

    path: of the file; "" means the published one, from the Hub. sha256: see `AestheticOptions`.

    Raises RewardError for a file that is missing or damaged, that lacks a layer, or has another layer or shape.
    """
    place = str(path) or REPOSITORY
    found = load_weights(place, option="head", file="" if path else FILE, sha256=sha256 or ("" if path else SHA256))
    names = {f"layers.{layer}.{part}" for layer in LAYERS for part in ("weight", "bias")}
    for what, wrong in (("lacks", names - found.keys()), ("has unknown", found.keys() - names)):
        if wrong:
            raise RewardError(
                f"head is {place!r}, which {what} {', '.join(sorted(wrong))}; it must have weight and bias "
                f"of layers {', '.join(map(str, LAYERS))}: give sac+logos+ava1-l14-linearMSE.pth or a file like it"
            )
    width = (0, *found["layers.0.weight"].shape)[-1]
    vector, bias = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for layer, inside, outside in zip(LAYERS, (width, *WIDTHS), WIDTHS, strict=False):
        weight, offset = (found[f"layers.{layer}.{part}"] for part in ("weight", "bias"))
        if weight.shape != (outside, inside) or offset.shape != (outside,):
            raise RewardError(
                f"head is {place!r}, whose layers.{layer} has a weight of shape {tuple(weight.shape)} and a bias "
                f"of {tuple(offset.shape)}; they must be {(outside, inside)} and {(outside,)}: give another file"
            )
        vector, bias = weight.double() @ vector, weight.double() @ bias + offset.double()
    return Head(vector[0].float(), bias[0].float())
