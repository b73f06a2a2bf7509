"""What a model is: one set of verbs for every kind of model that can be aligned. No torch is loaded here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dagsdk.process.conditioning import Conditioning
    from dagsdk.process.path import GaussianPath
    from dagsdk.process.prediction import Prediction


@runtime_checkable
class Model(Protocol):
    """A loaded model: its process, its network, and how texts and noise become images.

    `dagsdk.BaseModel` has defaults for everything from `pipeline` on.

    path: α and σ of its Gaussian path.
    prediction: what the network predicts: "epsilon", "v_prediction", "sample" or "velocity".
    network: the denoiser that is trained.
    latent_shape: shape of one state, such as (4, 64, 64).
    lora_targets: names of the modules that an adapter is attached to.
    source: what it was loaded from, for provenance.
    pipeline: the diffusers pipeline that it wraps, or None.
    """

    path: GaussianPath
    prediction: Prediction
    network: nn.Module
    latent_shape: tuple[int, ...]
    lora_targets: tuple[str, ...]
    source: str
    pipeline: Any

    def times(self, steps: int, /) -> Tensor:
        """Times of a chain of `steps` transitions, noisy to clean: shape (steps + 1,), on the CPU."""

    def encode(self, texts: Sequence[str], /) -> Conditioning:
        """Conditioning of n texts, without gradient: tensors whose first axis is n."""

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, /) -> Tensor:
        """One call of the network: states (n, *latent_shape), times (n,) → its output, float32."""

    def decode(self, latents: Tensor, /) -> Tensor:
        """What rewards see of clean latents: images (n, 3, h, w) float32 in [0, 1], or vectors (n, d)."""

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The networks other than the trained one, which the engine freezes while it uses them."""

    def state_flow_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new network (x_t, t, conditioning) → (n,) that estimates log F̃ of a state.

        widths: of its blocks, outermost first.
        """

    def flow_gradient_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new network (x_t, t, conditioning) → (n, *latent_shape), whose output starts at zero.

        widths: of its blocks, outermost first.
        """

    def save_adapter(self, folder: Path, name: str, /) -> None:
        """Writes the network's adapter of this name in the format that the model's own library loads."""

    def load_adapter(self, folder: Path, name: str, /) -> None:
        """Reads what `save_adapter` wrote into the attached adapter of this name, whose rank and targets are the same.

        Raises ModelError for a file that is missing or does not fit.
        """

    def save_network(self, folder: Path, /) -> None:
        """Writes the whole network in the format that the model's own library loads."""

    def load_network(self, folder: Path, /) -> None:
        """Reads what `save_network` wrote into the network. Raises ModelError for a file that does not fit."""
