"""Stable Diffusion 1.x and 2.x: any diffusers `StableDiffusionPipeline`, live, in a folder or on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from safetensors import SafetensorError
from torch import Tensor, nn

from dagsdk.errors import ModelError
from dagsdk.models.base import BaseModel
from dagsdk.models.quiet import without_progress, without_warnings
from dagsdk.models.weights import ADAPTER, adapter_weights, set_adapter_weights, unreadable
from dagsdk.process.conditioning import Conditioning
from dagsdk.process.path import VariancePreserving
from dagsdk.process.prediction import Prediction
from dagsdk.specs import BuildContext

PREDICTIONS = ("epsilon", "v_prediction", "sample")


class StableDiffusion(BaseModel):
    """A `StableDiffusionPipeline` as a `dagsdk.Model`. The pipeline stays as it is: nothing of it is moved or changed.

    The chain is DDIM's over the pipeline's own noise schedule (arXiv 2010.02502), whatever its scheduler was; the
    last step ends at t' = 0, as in the code of arXiv 2406.00633.
    """

    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: StableDiffusionPipeline, source: str = "") -> None:
        """Raises ModelError for another class of pipeline, and for a schedule that cannot be used."""
        self.source = source or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        if not isinstance(pipeline, StableDiffusionPipeline):
            raise _unsupported(self.source, type(pipeline).__name__)
        self.pipeline = pipeline
        self.network: Any = pipeline.unet
        self._scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        self.prediction: Prediction = self._scheduler.config.prediction_type
        if self.prediction not in PREDICTIONS:
            raise ModelError(
                f"model {self.source!r}: prediction_type is {self.prediction!r}; it must be one of "
                f"{', '.join(PREDICTIONS)}; check its scheduler_config.json"
            )
        try:
            self.path = VariancePreserving(self._scheduler.alphas_cumprod.double())
        except ValueError as error:
            raise ModelError(f"model {self.source!r}: {error}") from error
        side = pipeline.unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        self.latent_shape = (pipeline.unet.config.in_channels, height, width)

    @classmethod
    def from_pretrained(cls, name: str | Path, context: BuildContext, **options: Any) -> StableDiffusion:
        """Loads a pipeline from a folder or the Hub (safetensors only), in the context's dtype.

        options: passed on to diffusers, such as `revision` and `variant`.
        Raises ModelError for a model that is missing, unreadable or of another class.
        """
        try:
            # the name of the keyword depends on the version of diffusers
            with without_progress(), without_warnings(".*torch_dtype"):
                declared = StableDiffusionPipeline.load_config(str(name)).get("_class_name")
                if declared != "StableDiffusionPipeline":
                    raise _unsupported(str(name), declared)
                pipeline = StableDiffusionPipeline.from_pretrained(
                    str(name),
                    torch_dtype=context.dtype,
                    use_safetensors=True,
                    safety_checker=None,
                    requires_safety_checker=False,
                    **options,
                )
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"model {str(name)!r} cannot be loaded: {reason}; it must be a folder or a Hub id of a "
                "StableDiffusionPipeline with safetensors weights; check the name and the connection"
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline.to(context.device), str(name))

    def times(self, steps: int, /) -> Tensor:
        self._scheduler.set_timesteps(steps)
        return torch.cat([self._scheduler.timesteps.cpu().long(), torch.zeros(1, dtype=torch.long)])

    @torch.no_grad()
    def encode(self, texts: Sequence[str], /) -> Conditioning:
        # encode_prompt does the tokenising, truncation and the encoder's own quirks; dtype as the network's
        device = next(self.pipeline.text_encoder.parameters()).device
        embeds, _ = self.pipeline.encode_prompt(list(texts), device, 1, False)
        return {"prompt_embeds": embeds}

    def predict(self, x_t: Tensor, t: Tensor, conditioning: Conditioning, /) -> Tensor:
        embeds = conditioning["prompt_embeds"]
        output: Tensor = self.network(x_t.to(embeds.dtype), t, embeds, return_dict=False)[0]
        return output.float()

    def decode(self, latents: Tensor, /) -> Tensor:
        vae = self.pipeline.vae
        images: Tensor = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0]
        return (images.float() / 2 + 0.5).clamp(0, 1)

    def frozen_modules(self) -> Sequence[nn.Module]:
        return (self.pipeline.vae, self.pipeline.text_encoder)

    def save_adapter(self, folder: Path, name: str, /) -> None:
        """Writes what `pipeline.load_lora_weights(folder)` of plain diffusers loads."""
        config = self.network.peft_config[name]
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(adapter_weights(self.network, name)),
            unet_lora_adapter_metadata={**config.to_dict(), "target_modules": sorted(config.target_modules)},
        )

    def load_adapter(self, folder: Path, name: str, /) -> None:
        try:
            state, _ = StableDiffusionPipeline.lora_state_dict(
                str(folder), weight_name=ADAPTER, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise unreadable("adapter", folder, error) from error
        unet = {key.removeprefix("unet."): value for key, value in state.items() if key.startswith("unet.")}
        set_adapter_weights(self.network, name, convert_unet_state_dict_to_peft(unet), folder)

    def save_network(self, folder: Path, /) -> None:
        """Writes the folder `unet`, as a diffusers pipeline has it."""
        self.network.save_pretrained(folder / "unet", safe_serialization=True)

    def load_network(self, folder: Path, /) -> None:
        try:
            trained = type(self.network).from_pretrained(folder / "unet", use_safetensors=True)
            self.network.load_state_dict(trained.state_dict())
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise unreadable("network", folder, error) from error


def diffusers_lines(
    source: str, *, network: bool, dtype: str, steps: int, guidance_scale: float, eta: float
) -> list[str]:
    """Python that draws with the trained weights and plain diffusers, to be run in the folder that holds them.

    source: of the model: a folder or a Hub id; empty for a pipeline that the reader has to load.
    network: whether the folder holds a whole network, not an adapter. dtype: of the frozen weights, "float32", ...
    """
    half = "" if dtype == "float32" else f", torch_dtype=torch.{dtype}"
    load = f"StableDiffusionPipeline.from_pretrained({source!r}{half}, safety_checker=None)"
    names = "DDIMScheduler, StableDiffusionPipeline" + (", UNet2DConditionModel" if network else "")
    trained = (
        'pipeline.unet = UNet2DConditionModel.from_pretrained("unet")'
        if network
        else 'pipeline.load_lora_weights(".", weight_name="pytorch_lora_weights.safetensors")'
    )
    return [
        "import torch",
        f"from diffusers import {names}",
        "",
        f"pipeline = {load if source else '...  # the pipeline that was aligned'}",
        "pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, set_alpha_to_one=False)",
        trained,
        "images = pipeline(",
        '    "a red circle",',
        f"    num_inference_steps={steps},",
        f"    guidance_scale={guidance_scale},",
        f"    eta={eta},",
        "    generator=torch.Generator().manual_seed(0),",
        ").images",
        'images[0].save("image.png")',
    ]


def _unsupported(source: str, kind: str) -> ModelError:
    return ModelError(
        f"model {source!r} is a {kind}; only StableDiffusionPipeline is supported; choose a Stable Diffusion 1.x or "
        "2.x model"
    )
