"""What a model family is: one set of verbs over every kind of model that the engine can align."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dagsdk.families.conditioning import Conditioning
    from dagsdk.process.path import GaussianPath
    from dagsdk.process.prediction import Prediction


@runtime_checkable
class Family(Protocol):
    """A loaded model: its process, its network and the way from text to latents to images.

    path: α and σ of its Gaussian path.
    prediction: what the network predicts: "epsilon", "v_prediction", "sample" or "velocity".
    network: the denoiser that is trained.
    latent_shape: shape of one state, such as (4, 64, 64).
    lora_targets: names of the modules that an adapter goes on.
    source: what it was loaded from, for provenance.
    """

    path: GaussianPath
    prediction: Prediction
    network: nn.Module
    latent_shape: tuple[int, ...]
    lora_targets: tuple[str, ...]
    source: str

    def times(self, steps: int, /) -> Tensor:
        """Times of a chain of `steps` transitions, noisy to clean: shape (steps + 1,), on the CPU."""

    def encode(self, texts: Sequence[str], /) -> Conditioning:
        """Conditioning of n texts, without gradient."""

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, /) -> Tensor:
        """One call of the network: states (n, *latent_shape), times (n,) → its output, float32."""

    def decode(self, latents: Tensor, /) -> Tensor:
        """What rewards see of clean latents: images (n, 3, h, w) float32 in [0, 1], or vectors (n, d)."""

    def flow_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new network (x_t, t, conditioning) → (n,) that estimates log F̃ of a state.

        widths: of its blocks, from the input inwards.
        """

    def residual_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new network (x_t, t, conditioning) → (n, *latent_shape), whose output starts at zero.

        widths: of its blocks, from the input inwards.
        """

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The networks besides the trained one, which the engine moves, casts and freezes."""

    def save_adapter(self, folder: Path, /) -> None:
        """Writes the network's adapter in the format that the model's own library loads."""

    def load_adapter(self, folder: Path, /) -> None:
        """Reads what `save_adapter` wrote into an adapter of the same rank and targets, already attached."""

    def save_network(self, folder: Path, /) -> None:
        """Writes the whole network in the format that the model's own library loads."""

    def load_network(self, folder: Path, /) -> None:
        """Reads what `save_network` wrote into the network."""
