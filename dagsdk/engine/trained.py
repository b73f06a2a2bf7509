"""What of the policy is trained: the network's adapter and perhaps its noise; and the moving average of both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import nn

from dagsdk.engine.adapter import Adapter
from dagsdk.engine.noise_scale import NoiseScale


class Trained:
    """The trained part of a policy. Outside `training` it holds the weights to use: their average, if there is one.

    noise: trained factors of its noise, or None.
    decay: of an exponential moving average of all these weights, in [0, 1); 0 means none.
    """

    def __init__(self, adapter: Adapter, noise: NoiseScale | None, decay: float) -> None:
        self.adapter, self.noise = adapter, noise
        self.parameters: dict[str, list[nn.Parameter]] = {"policy": list(adapter.trained().values())}
        if noise is not None:
            self.parameters["noise"] = list(noise.parameters())
        self._all = [parameter for group in self.parameters.values() for parameter in group]
        self._training = False
        self.ema = EMAModel(self._all, decay=decay) if decay else None
        self._show_average()

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within it, the policy has the weights that the optimiser steps, with gradients."""
        if self._training:
            yield
            return
        self._training = True
        if self.ema is not None:
            self.ema.restore(self._all)
        try:
            with self.adapter.in_use():
                yield
        finally:
            self._training = False
            self._show_average()

    @contextmanager
    def using(self) -> Iterator[None]:
        """Within it, modules are in evaluation mode, and the policy has the weights to use."""
        with self.adapter.in_use():
            yield

    @contextmanager
    def sampling(self, samples: str) -> Iterator[None]:
        """Within it, the policy is what draws the images: "policy", the weights in training, or "reference"."""
        with self.reference() if samples == "reference" else nullcontext():
            yield

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within it, the policy is what it was before training."""
        with self.adapter.reference(), nullcontext() if self.noise is None else self.noise.off():
            yield

    def follow(self, optimiser: torch.optim.Optimizer) -> None:
        """Moves the average after each step that the optimiser takes."""
        if (ema := self.ema) is not None:
            optimiser.register_step_post_hook(lambda *_: ema.step(self._all))

    def snapshot(self) -> list[Any]:
        """Copies of the trained weights as they are now."""
        return [parameter.detach().clone() for parameter in self._all]

    @contextmanager
    def at(self, snapshot: list[Any]) -> Iterator[None]:
        """Within it, the policy has the weights of a snapshot."""
        current = [parameter.data for parameter in self._all]
        for parameter, old in zip(self._all, snapshot, strict=True):
            parameter.data = old
        try:
            yield
        finally:
            for parameter, data in zip(self._all, current, strict=True):
                parameter.data = data

    def save(self, folder: Path) -> None:
        """Writes what sampling needs: the adapter in the model's own format, and the noise."""
        self.adapter.save(folder)
        if self.noise is not None:
            self.noise.save(folder)

    def state(self) -> dict[str, Any]:
        """Sections of a checkpoint to continue from."""
        with self.training():
            return {
                "trained": self.adapter.state(),
                "noise": None if self.noise is None else self.noise.state(),
                "ema": None if self.ema is None else self.ema.state_dict(),
            }

    def restore(self, sections: Mapping[str, Any]) -> None:
        with self.training():
            self.adapter.restore(sections["trained"])
            if self.noise is not None:
                self.noise.restore(sections["noise"])
            if self.ema is not None:
                self.ema.load_state_dict(sections["ema"])
                self.ema.to(self._all[0].device)

    def _show_average(self) -> None:
        if self.ema is not None:
            self.ema.store(self._all)
            self.ema.copy_to(self._all)
