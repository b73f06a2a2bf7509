"""Low-dimensional vectors under an MLP: no images and no text, but densities whose true answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dagsdk.errors import ModelError
from dagsdk.models.base import BaseModel
from dagsdk.models.mlp import MLP
from dagsdk.models.nine_modes import expected_noise, nine_modes
from dagsdk.models.options import VectorOptions
from dagsdk.process.conditioning import Conditioning
from dagsdk.process.path import VariancePreserving
from dagsdk.process.prediction import Prediction
from dagsdk.specs import BuildContext

TIMES = 1000
CONFIG = "vector.json"


def log_snr_path(log_snr: tuple[float, float]) -> VariancePreserving:
    """A variance-preserving path whose log α²/σ² rises linearly from the first (noisy) to the second (clean)."""
    noisy, clean = log_snr
    return VariancePreserving(torch.linspace(clean, noisy, TIMES, dtype=torch.float64).sigmoid())


class Vector(BaseModel):
    """A `dagsdk.Model` of vectors. Rewards see vectors of shape (n, d) instead of images."""

    prediction: Prediction = "epsilon"

    def __init__(self, network: MLP, log_snr: tuple[float, float], device: str = "cpu", source: str = "vector") -> None:
        self.network = network.to(device)
        self.log_snr = log_snr
        self.path = log_snr_path(log_snr)
        self.latent_shape = (network.input.in_features,)
        self.lora_targets = tuple(f"hidden.{i}" for i in range(len(network.hidden)))
        self.source = source
        self._width = network.input.out_features
        self._device = device

    @classmethod
    def build(cls, options: VectorOptions, context: BuildContext) -> Vector:
        """A saved model, or a new one pretrained on `nine_modes` with equal weights."""
        if options.folder:
            return cls.load(Path(options.folder), context.device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(context.seed)
            network = MLP(2, 2, options.width)
        model = cls(network, options.log_snr, context.device)
        model.pretrain(options.pretrain, options.learning_rate, context.seed)
        return model

    @torch.enable_grad()
    def pretrain(self, batches: int, learning_rate: float, seed: int) -> None:
        """Score matching on `nine_modes`: the mean of (ε_θ(x_t, t) - E[ε | x_t])² over batches of 256.

        The expectation is known here. It stands for ε itself, whose loss has the same gradient on average and far
        more noise. Times are spread evenly over the path, and the learning rate falls to 0 as a half cosine.
        """
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.Adam(self.network.parameters(), learning_rate)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, batches))
        for _ in range(batches):
            x_0 = nine_modes(256, generator)
            spread = torch.arange(256) + torch.rand(256, generator=generator)
            t = (spread * (TIMES / 256)).long().clamp(max=TIMES - 1)
            alpha, sigma = self.path.alpha(t).float(), self.path.sigma(t).float()
            x_t = alpha[:, None] * x_0 + sigma[:, None] * torch.randn(x_0.shape, generator=generator)
            eps = expected_noise(x_t, alpha, sigma).to(self._device)
            loss = (self.network(x_t.to(self._device), t.to(self._device)) - eps).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            falling.step()

    def times(self, steps: int, /) -> Tensor:
        if steps >= TIMES:
            raise ModelError(f"rollout.steps is {steps}; a vector model has {TIMES} times; take fewer steps")
        return torch.linspace(TIMES - 1, 0, steps + 1).round().long()

    def encode(self, texts: Sequence[str], /) -> Conditioning:
        # Prompts do not condition a vector model; the empty tensor only counts the samples.
        return {"none": torch.zeros(len(texts), 0, device=self._device)}

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, /) -> Tensor:
        output: Tensor = self.network(x_t, t)
        return output.float()

    def decode(self, latents: Tensor, /) -> Tensor:
        return latents.float()

    def save_network(self, folder: Path, /) -> None:
        """Writes weights and configuration, for `load`."""
        super().save_network(folder)
        config = {"dimension": self.latent_shape[0], "width": self._width, "log_snr": self.log_snr}
        (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Vector:
        """Reads what `save_network` wrote. Raises ModelError for a folder without a vector model."""
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            network = MLP(config["dimension"], config["dimension"], config["width"])
            model = cls(network, tuple(config["log_snr"]), device, str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"model.folder is {str(folder)!r}: {error}; it must hold what a vector model was saved as; give such a "
                "folder, or leave it out for a new model"
            ) from error
        model.load_network(folder)
        return model
