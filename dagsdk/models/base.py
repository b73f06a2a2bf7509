"""The base of a model: files of adapters and networks, and the auxiliary networks. No torch is loaded here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagsdk.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dagsdk.process.conditioning import Conditioning
    from dagsdk.process.path import GaussianPath
    from dagsdk.process.prediction import Prediction


class BaseModel(ABC):
    """A `dagsdk.Model` with defaults: a model that derives from it has six attributes and four methods of its own.

    What they are is said in `dagsdk.models.protocol.Model`. The default networks take states of shape (c, h, w), and
    attend to the conditioning's "prompt_embeds", shape (n, l, d); or states of shape (d,), and no conditioning.
    """

    path: GaussianPath
    prediction: Prediction
    network: nn.Module
    latent_shape: tuple[int, ...]
    lora_targets: tuple[str, ...]
    source: str
    pipeline: Any = None

    @abstractmethod
    def times(self, steps: int, /) -> Tensor:
        """Times of a chain of `steps` transitions, noisy to clean: shape (steps + 1,), on the CPU."""

    @abstractmethod
    def encode(self, texts: Sequence[str], /) -> Conditioning:
        """Conditioning of n texts, without gradient: tensors whose first axis is n."""

    @abstractmethod
    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, /) -> Tensor:
        """One call of the network: states (n, *latent_shape), times (n,) → its output, float32."""

    @abstractmethod
    def decode(self, latents: Tensor, /) -> Tensor:
        """What rewards see of clean latents: images (n, 3, h, w) float32 in [0, 1], or vectors (n, d)."""

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The networks other than the trained one: none."""
        return ()

    def state_flow_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new UNet encoder for images, or MLP for vectors, whose output starts at zero."""
        if len(self.latent_shape) == 1:
            from dagsdk.models.mlp import MLPStateFlow

            return MLPStateFlow(self.latent_shape[0], widths[0])
        from dagsdk.models.unet_state_flow import UNetStateFlow

        return UNetStateFlow(*self._channels_and_prompt_width("state_flow_network"), widths)

    def flow_gradient_network(self, widths: Sequence[int], /) -> nn.Module:
        """A new UNet for images, or MLP for vectors, whose output starts at zero."""
        if len(self.latent_shape) == 1:
            from dagsdk.models.mlp import MLPFlowGradient

            return MLPFlowGradient(self.latent_shape[0], widths[0])
        from dagsdk.models.unet_flow_gradient import UNetFlowGradient

        return UNetFlowGradient(*self._channels_and_prompt_width("flow_gradient_network"), widths)

    def _channels_and_prompt_width(self, method: str) -> tuple[int, int]:
        if len(self.latent_shape) != 3:
            raise ModelError(
                f"model {self.source!r}: latent_shape is {self.latent_shape}; the default networks are for (c, h, w) "
                f"and (d,); give the model a `{method}` of its own"
            )
        found = self.encode([""])
        embeds = found.get("prompt_embeds")
        if embeds is None or embeds.ndim != 3:
            shapes = {name: tuple(part.shape) for name, part in found.items()}
            raise ModelError(
                f"model {self.source!r}: encode returns {shapes} for one text; the default networks attend to "
                f"'prompt_embeds' of shape (n, l, d); return that, or give the model a `{method}` of its own"
            )
        return self.latent_shape[0], embeds.shape[-1]

    def save_adapter(self, folder: Path, name: str, /) -> None:
        """Writes the adapter's weights under peft's names, as safetensors."""
        from dagsdk.models.weights import save_adapter_file

        save_adapter_file(self.network, name, folder)

    def load_adapter(self, folder: Path, name: str, /) -> None:
        """Reads what `save_adapter` wrote. Raises ModelError for a file that is missing or does not fit."""
        from dagsdk.models.weights import load_adapter_file

        load_adapter_file(self.network, name, folder)

    def save_network(self, folder: Path, /) -> None:
        """Writes the network's weights, as safetensors."""
        from dagsdk.models.weights import save_network_file

        save_network_file(self.network, folder)

    def load_network(self, folder: Path, /) -> None:
        """Reads what `save_network` wrote. Raises ModelError for a file that is missing or does not fit."""
        from dagsdk.models.weights import load_network_file

        load_network_file(self.network, folder)
