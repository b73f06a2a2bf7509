"""An embedded text-to-image model of coloured shapes, its prompts, and a reward that measures them exactly.

This module has the hooks of the plugin. Importing it loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dagsdk import BuildContext, ModelSpec, NoOptions, PromptSpec, RewardSpec, hookimpl
from dagsdk_shapes import prompts
from dagsdk_shapes.match import Match, MatchOptions

if TYPE_CHECKING:
    from dagsdk import Model

MODEL_FOLDER: Final = Path(__file__).parent / "model"
"""The embedded pipeline; `diffusers.StableDiffusionPipeline.from_pretrained` loads it."""


def build_model(options: NoOptions, context: BuildContext) -> Model:
    from dagsdk.models.stable_diffusion import StableDiffusion

    return StableDiffusion.from_pretrained(MODEL_FOLDER, context)


@hookimpl
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    yield ModelSpec(
        name="shapes", summary="Embedded 32x32 latent diffusion model of coloured shapes", build=build_model
    )


@hookimpl
def dagsdk_prompts() -> Iterable[PromptSpec[Any]]:
    yield PromptSpec(
        name="shapes",
        summary="Captions of compositions that the shapes model was trained on",
        build=prompts.training_prompts,
        options=prompts.CaptionOptions,
    )
    yield PromptSpec(
        name="shapes-held-out",
        summary="Captions of colour and shape pairs that the shapes model never saw",
        build=prompts.held_out_prompts,
        options=prompts.CaptionOptions,
    )
    yield PromptSpec(
        name="shapes-free",
        summary="Captions that leave most attributes free, to measure diversity",
        build=prompts.free_prompts,
        options=prompts.FreeCaptionOptions,
    )


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(
        name="shapes-match",
        summary="Share of the attributes named in a shapes caption that the image has, measured exactly",
        build=Match,
        options=MatchOptions,
    )
