"""What of the policy is trained: the network's adapter and perhaps its noise; their average, and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from diffusers.training_utils import EMAModel
from torch import nn

from dagsdk.engine.lora import Adapter
from dagsdk.engine.noise_scale import NoiseScale


class Trained:
    """The trained part of a policy.

    noise: trained factors of its noise, or None.
    decay: of a moving average of all these weights, which is then what is evaluated and saved; 0 means none.
    """

    def __init__(self, adapter: Adapter, noise: NoiseScale | None, decay: float) -> None:
        self.adapter, self.noise = adapter, noise
        self.parameters: dict[str, list[nn.Parameter]] = {"policy": list(adapter.trained().values())}
        if noise is not None:
            self.parameters["noise"] = list(noise.parameters())
        self._all = [parameter for group in self.parameters.values() for parameter in group]
        self.ema = EMAModel(self._all, decay=decay) if decay else None

    @contextmanager
    def reference(self) -> Iterator[None]:
        """Within it, the policy is what it was before training."""
        with self.adapter.reference(), nullcontext() if self.noise is None else self.noise.off():
            yield

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it, the policy has the moving average of its weights, if there is one: those to use."""
        if self.ema is None:
            yield
            return
        self.ema.store(self._all)
        self.ema.copy_to(self._all)
        try:
            yield
        finally:
            self.ema.restore(self._all)

    def stepped(self) -> None:
        """To be called after each optimiser step."""
        if self.ema is not None:
            self.ema.step(self._all)

    def save(self, folder: Path) -> None:
        """Writes what sampling needs: the adapter in the model's own format, and the noise."""
        self.adapter.save(folder)
        if self.noise is not None:
            self.noise.save(folder)

    def state(self) -> dict[str, Any]:
        """Sections of a checkpoint, to go on from."""
        return {
            "trained": self.adapter.state(),
            "noise": None if self.noise is None else self.noise.state(),
            "ema": None if self.ema is None else self.ema.state_dict(),
        }

    def restore(self, sections: Mapping[str, Any]) -> None:
        self.adapter.restore(sections["trained"])
        if self.noise is not None:
            self.noise.restore(sections["noise"])
        if self.ema is not None:
            self.ema.load_state_dict(sections["ema"])
            self.ema.to(self._all[0].device)
