"""Stable Diffusion 1.x and 2.x: any diffusers `StableDiffusionPipeline`, in a folder or on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers, convert_unet_state_dict_to_peft
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor, nn

from dagsdk.errors import ModelError
from dagsdk.families.conditioning import Conditioning
from dagsdk.families.unet_flow import UNetFlow
from dagsdk.families.unet_residual import UNetResidual
from dagsdk.process.path import GaussianPath, VariancePreserving
from dagsdk.process.prediction import Prediction
from dagsdk.specs import BuildContext

ADAPTER = "pytorch_lora_weights.safetensors"
"""diffusers' own name; older versions do not look for it when they are offline."""

PREDICTIONS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "v_prediction": "v_prediction",
    "sample": "sample",
}


class StableDiffusion:
    """A `StableDiffusionPipeline` as a `dagsdk.families.protocol.Family`.

    The chain is DDIM's over the pipeline's own noise schedule (arXiv 2010.02502), whatever its scheduler was; the
    last step ends at t' = 0, as in the code of arXiv 2406.00633.
    """

    lora_targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, pipeline: StableDiffusionPipeline, source: str = "") -> None:
        self.pipeline = pipeline
        self.source = source or str(getattr(pipeline, "name_or_path", "") or "pipeline")
        self.network: Any = pipeline.unet
        self._scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
        kind = self._scheduler.config.prediction_type
        if kind not in PREDICTIONS:
            raise ModelError(
                f"model {self.source!r}: prediction_type is {kind!r}; it must be one of {', '.join(PREDICTIONS)}; "
                "check its scheduler_config.json"
            )
        self.prediction = PREDICTIONS[kind]
        self.path: GaussianPath = VariancePreserving(self._scheduler.alphas_cumprod.double())
        side = pipeline.unet.config.sample_size
        height, width = (side, side) if isinstance(side, int) else side
        self.latent_shape: tuple[int, ...] = (pipeline.unet.config.in_channels, height, width)

    @classmethod
    def from_pretrained(cls, name: str | Path, context: BuildContext, **options: Any) -> StableDiffusion:
        """Loads a pipeline from a folder or the Hub (safetensors only), in the context's dtype.

        options: passed on to diffusers, such as `revision` and `variant`.
        Raises ModelError for a model that is missing, unreadable or of another class.
        """
        try:
            declared = StableDiffusionPipeline.load_config(str(name)).get("_class_name")
            if declared != "StableDiffusionPipeline":
                raise ModelError(
                    f"model {str(name)!r} is a {declared}; only StableDiffusionPipeline is supported; "
                    "choose a Stable Diffusion 1.x or 2.x model"
                )
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

    def flow_network(self, widths: Sequence[int], /) -> nn.Module:
        unet = self.pipeline.unet
        return UNetFlow(self.latent_shape[0], unet.config.cross_attention_dim, widths)

    def residual_network(self, widths: Sequence[int], /) -> nn.Module:
        unet = self.pipeline.unet
        return UNetResidual(self.latent_shape[0], unet.config.cross_attention_dim, widths)

    def frozen_modules(self) -> Sequence[nn.Module]:
        return (self.pipeline.vae, self.pipeline.text_encoder)

    def save_adapter(self, folder: Path, /) -> None:
        config = self.network.peft_config["default"]
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(self.network)),
            unet_lora_adapter_metadata={**config.to_dict(), "target_modules": sorted(config.target_modules)},
        )

    def load_adapter(self, folder: Path, /) -> None:
        state, _ = StableDiffusionPipeline.lora_state_dict(
            str(folder), weight_name=ADAPTER, local_files_only=True, use_safetensors=True
        )
        unet = {key.removeprefix("unet."): value for key, value in state.items() if key.startswith("unet.")}
        result = set_peft_model_state_dict(self.network, convert_unet_state_dict_to_peft(unet))
        missing = [key for key in result.missing_keys if "lora_" in key]
        if missing or result.unexpected_keys:
            raise ModelError(
                f"adapter in {folder}: {len(missing)} weights are missing and {len(result.unexpected_keys)} do not "
                "belong to this network; rank and targets must be those it was trained with"
            )

    def save_network(self, folder: Path, /) -> None:
        self.network.save_pretrained(folder / "unet", safe_serialization=True)

    def load_network(self, folder: Path, /) -> None:
        trained = type(self.network).from_pretrained(folder / "unet", use_safetensors=True)
        self.network.load_state_dict(trained.state_dict())
