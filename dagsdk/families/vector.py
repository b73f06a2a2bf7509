"""Low-dimensional vectors under an MLP: no images and no text, but densities whose true answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dagsdk.errors import ModelError
from dagsdk.families.conditioning import Conditioning
from dagsdk.families.nine_modes import expected_noise, nine_modes
from dagsdk.families.options import VectorOptions
from dagsdk.process.path import GaussianPath, VariancePreserving
from dagsdk.process.prediction import Prediction
from dagsdk.specs import BuildContext

TIMES = 1000
ADAPTER = "pytorch_lora_weights.safetensors"


class MLP(nn.Module):
    """Vectors (n, d) and times (n,) → (n, outputs): a residual MLP with a time embedding.

    zero: whether the last layer starts at zero.
    """

    def __init__(self, dimension: int, outputs: int, width: int, depth: int = 3, zero: bool = False) -> None:
        super().__init__()
        self.input = nn.Linear(dimension, width)
        self.time_projection = Timesteps(64, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.output = nn.Linear(width, outputs)
        if zero:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h: Tensor = self.input(x) + self.time_embedding(self.time_projection(t).to(x.dtype))
        for layer in self.hidden:
            h = h + layer(nn.functional.silu(h))
        y: Tensor = self.output(nn.functional.silu(h))
        return y


class MLPFlow(nn.Module):
    """The flow network of vectors: (x_t, t, conditioning) → log F̃, shape (n,)."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.network = MLP(dimension, 1, width, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        y: Tensor = self.network(x_t, t)
        return y.squeeze(-1)


class MLPResidual(nn.Module):
    """The residual network of vectors: (x_t, t, conditioning) → x_t's shape, zero at first."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.network = MLP(dimension, dimension, width, zero=True)

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        y: Tensor = self.network(x_t, t)
        return y


def log_snr_path(log_snr: tuple[float, float]) -> VariancePreserving:
    """A variance-preserving path whose log α²/σ² rises linearly from the first (noisy) to the second (clean)."""
    noisy, clean = log_snr
    return VariancePreserving(torch.linspace(clean, noisy, TIMES, dtype=torch.float64).sigmoid())


class Vector:
    """A `dagsdk.families.protocol.Family` of vectors. Rewards see the vectors where they would see images."""

    prediction: Prediction = "epsilon"

    def __init__(self, network: MLP, log_snr: tuple[float, float], device: str = "cpu", source: str = "vector") -> None:
        self.network: nn.Module = network.to(device)
        self.log_snr = log_snr
        self.path: GaussianPath = log_snr_path(log_snr)
        self.latent_shape: tuple[int, ...] = (network.input.in_features,)
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
        family = cls(network, options.log_snr, context.device)
        family.pretrain(options.pretrain, options.learning_rate, context.seed)
        return family

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

    def flow_network(self, widths: Sequence[int], /) -> nn.Module:
        return MLPFlow(self.latent_shape[0], widths[0])

    def residual_network(self, widths: Sequence[int], /) -> nn.Module:
        return MLPResidual(self.latent_shape[0], widths[0])

    def frozen_modules(self) -> Sequence[nn.Module]:
        return ()

    def save_adapter(self, folder: Path, /) -> None:
        save_file(get_peft_model_state_dict(self.network), folder / ADAPTER)

    def load_adapter(self, folder: Path, /) -> None:
        result = set_peft_model_state_dict(self.network, load_file(folder / ADAPTER))
        if result.unexpected_keys:
            raise ModelError(f"adapter in {folder} does not belong to this network; rank and targets must be the same")

    def save_network(self, folder: Path, /) -> None:
        """Writes weights and configuration, for `load`."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(self.network.state_dict()), folder / "vector.safetensors")
        config = {"dimension": self.latent_shape[0], "width": self._width, "log_snr": self.log_snr}
        (folder / "vector.json").write_text(json.dumps(config), encoding="utf-8")

    def load_network(self, folder: Path, /) -> None:
        self.network.load_state_dict(self.load(folder).network.state_dict())

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Vector:
        """Reads what `save_network` wrote. Raises ModelError for a folder without a vector model."""
        try:
            config = json.loads((folder / "vector.json").read_text(encoding="utf-8"))
            network = MLP(config["dimension"], config["dimension"], config["width"])
            network.load_state_dict(load_file(folder / "vector.safetensors"))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise ModelError(
                f"model.folder is {str(folder)!r}: {error}; it must hold vector.json and vector.safetensors; "
                "give the folder of a saved vector model, or leave it out for a new one"
            ) from error
        return cls(network, tuple(config["log_snr"]), device, str(folder))
