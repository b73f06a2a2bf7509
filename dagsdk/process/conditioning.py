"""The conditioning of a network, as a mapping of tensors whose first axis is the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Conditioning = Mapping[str, Tensor]


def take(conditioning: Conditioning, index: Tensor) -> Conditioning:
    """Rows `index` of each tensor."""
    return {name: tensor[index] for name, tensor in conditioning.items()}


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """The rows of all parts, one after the other."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def moved(conditioning: Conditioning, device: torch.device | str) -> Conditioning:
    """The same on another device."""
    return {name: tensor.to(device) for name, tensor in conditioning.items()}
