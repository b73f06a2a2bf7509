"""Makes rewards of different scales comparable before they are weighted: standardised by prompt, or over epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

Mode = Literal["none", "prompt", "running"]

SMALLEST = 1e-6
"""A standard deviation below this, times the mean or 1, is due to rounding: such rewards are only centred."""


@frozen(eq=False)
class Scale:
    """The mean and std by which the rewards of b trajectories are standardised, each of shape (b,), float32."""

    mean: Tensor
    std: Tensor

    def __call__(self, rewards: Tensor) -> Tensor:
        """(r - mean) / std, shape (b,), with gradient to r."""
        return (rewards - self.mean) / self.std

    def rows(self, index: Tensor | slice) -> Scale:
        return Scale(self.mean[index], self.std[index])


Scales = Mapping[str, Scale]
"""By name of the reward. A reward that is not in it is not normalised."""


def rows(scales: Scales, index: Tensor | slice) -> Scales:
    """The scales of some of the trajectories."""
    return {name: scale.rows(index) for name, scale in scales.items()}


class Normaliser:
    """Computes each epoch's scales.

    modes: by reward. "prompt": by the mean and std of the trajectories that share a prompt; "running": by those of
        the last `window` epochs, this one included; "none": not at all.

    A scale holds for a whole epoch: the reward of an image and the forward-looking rewards of its trajectory go through
    the same map, so that they stay comparable. The state belongs in a checkpoint.
    """

    def __init__(self, modes: Mapping[str, Mode], window: int) -> None:
        self.modes = {name: mode for name, mode in modes.items() if mode != "none"}
        self.window = window
        # by reward, for each of the last epochs: how many rewards, their mean, their population variance
        self.history: dict[str, list[list[float]]] = {n: [] for n, mode in self.modes.items() if mode == "running"}

    def fit(self, rewards: Mapping[str, Tensor], group: Tensor) -> Scales:
        """The scales of an epoch, from the rewards of all its trajectories. Keeps their statistics for the next epochs.

        rewards: by name, each of shape (b,).
        group: shape (b,), int64; rows with the same number share a prompt.
        """
        found = {}
        for name, mode in self.modes.items():
            values = rewards[name].double()
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
    """Mean and standard deviation of all epochs' rewards together."""
    total = sum(n for n, _, _ in epochs)
    mean = sum(n * m for n, m, _ in epochs) / total
    return mean, (sum(n * (v + (m - mean) ** 2) for n, m, v in epochs) / total) ** 0.5


def _is_spread(mean: Tensor, std: Tensor) -> Tensor:
    return std > SMALLEST * mean.abs().clamp(min=1)
