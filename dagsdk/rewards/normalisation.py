"""Rewards of different scales made comparable before they are weighted: standardised by prompt, or over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

Mode = Literal["none", "prompt", "running"]

SMALLEST = 1e-6
"""A standard deviation below this share of the mean (at least of 1) is rounding: such scores are only centred."""


@frozen(eq=False)
class Scale:
    """What the scores of b trajectories are standardised by: mean and std, each of shape (b,), float32."""

    mean: Tensor
    std: Tensor

    def __call__(self, scores: Tensor) -> Tensor:
        """(r - mean) / std, shape (b,), with the gradient of r."""
        return (scores - self.mean) / self.std

    def rows(self, index: Tensor | slice) -> Scale:
        return Scale(self.mean[index], self.std[index])


Scales = Mapping[str, Scale]
"""By the reward's name. A reward that is not in it keeps its raw scores."""


def rows(scales: Scales, index: Tensor | slice) -> Scales:
    """Those of some of the trajectories."""
    return {name: scale.rows(index) for name, scale in scales.items()}


class Normaliser:
    """Finds each epoch's scales.

    modes: by reward, "prompt": by the mean and std of the trajectories that share a prompt; "running": by those of
        the last `window` epochs, this one included; "none": not at all.

    What is found holds for all of an epoch: the final image's score and the forward-looking ones of its trajectory go
    through the same map, so that they stay comparable. Its state belongs in a checkpoint.
    """

    def __init__(self, modes: Mapping[str, Mode], window: int) -> None:
        self.modes = {name: mode for name, mode in modes.items() if mode != "none"}
        self.window = window
        # by reward, for each of the last epochs: how many scores, their mean, their population variance
        self.history: dict[str, list[list[float]]] = {n: [] for n, mode in self.modes.items() if mode == "running"}

    def fit(self, scores: Mapping[str, Tensor], group: Tensor) -> Scales:
        """The scales of an epoch, from the scores of all its trajectories; remembers them for the next epochs.

        scores: by reward, each of shape (b,). group: shape (b,), int64, the same number shares a prompt.
        """
        found = {}
        for name, mode in self.modes.items():
            values = scores[name].double()
            if mode == "prompt":
                mean, std = _by_group(values, group)
            else:
                epochs = self.history[name]
                epochs.append([len(values), float(values.mean()), float(values.var(correction=0))])
                del epochs[: -self.window]
                mean, std = (torch.full_like(values, value) for value in _pooled(epochs))
            found[name] = Scale(mean.float(), torch.where(_is_spread(mean, std), std, 1.0).float())
        return found

    def state_dict(self) -> dict[str, Any]:
        return {"history": {name: [list(epoch) for epoch in epochs] for name, epochs in self.history.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.history = {name: [list(epoch) for epoch in epochs] for name, epochs in state["history"].items()}


def _by_group(values: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each row's group, each of shape (b,)."""
    _, index = group.unique(return_inverse=True)
    count = torch.bincount(index).to(values.dtype)
    mean = (torch.zeros_like(count).index_add_(0, index, values) / count)[index]
    square = torch.zeros_like(count).index_add_(0, index, (values - mean).square())
    return mean, (square / count).sqrt()[index]


def _pooled(epochs: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Mean and standard deviation of all epochs' scores together."""
    total = sum(n for n, _, _ in epochs)
    mean = sum(n * m for n, m, _ in epochs) / total
    return mean, (sum(n * (v + (m - mean) ** 2) for n, m, v in epochs) / total) ** 0.5


def _is_spread(mean: Tensor, std: Tensor) -> Tensor:
    return std > SMALLEST * mean.abs().clamp(min=1)
