"""The local plugin of `proportionality.py`: a reward that looks only at the colour, and `shapes` with other times."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from dagsdk import BuildContext, ModelSpec, Prompt, RewardSpec, hookimpl
from dagsdk_shapes import MODEL_FOLDER
from dagsdk_shapes.attributes import COLOURS

if TYPE_CHECKING:
    from torch import Tensor

REWARDS: Final = tuple({"red": 1.0, "blue": 0.5}.get(colour, 0.0) for colour in (*COLOURS, "none"))
"""Rewards by colour, in the palette's order; last, of a picture whose colour is not recognised."""


def colours(images: Tensor) -> Tensor:
    """The colour of the shape in each picture, as its place in `REWARDS`: shape (b,), int64.

    images: shape (b, 3, h, w), floating point in [0, 1]
    """
    from dagsdk_shapes.recognition import recognise

    return recognise(images)[:, 1] % len(REWARDS)  # -1, not recognised, is the last


def build_reward(options: Any, context: BuildContext) -> Any:
    def reward(images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return images.new_tensor(REWARDS)[colours(images)]

    return reward


def build_model(options: Any, context: BuildContext) -> Any:
    """`shapes` with times from the noisy end of training's (arXiv 2305.08891), so that few steps have noise enough."""
    from diffusers import DDIMScheduler

    from dagsdk.models.stable_diffusion import StableDiffusion

    scheduler = DDIMScheduler.from_pretrained(MODEL_FOLDER / "scheduler", timestep_spacing="trailing")
    return StableDiffusion.from_pretrained(MODEL_FOLDER, context, scheduler=scheduler)


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(name="colour", summary="1 for a red shape, 0.5 for a blue one, else 0", build=build_reward)


@hookimpl
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    yield ModelSpec(
        name="shapes-trailing", summary="The shapes model, its times counted from the end", build=build_model
    )
