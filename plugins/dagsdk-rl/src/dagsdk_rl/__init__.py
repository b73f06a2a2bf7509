"""Policy gradients on the denoising chain: DDPO (with its reward-weighted sibling) and GRPO. Torch loads in `build`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, ObjectiveSpec, hookimpl
from dagsdk_rl.options import (
    DDPO_NEEDS,
    GRPO_NEEDS,
    DDPOOptions,
    GRPOOptions,
    unneeded_by_ddpo,
    unneeded_by_grpo,
)

if TYPE_CHECKING:
    from dagsdk.objectives.protocol import Objective


def build_ddpo(options: DDPOOptions, context: BuildContext) -> Objective:
    from dagsdk_rl.ddpo import DDPO

    return DDPO(options)


def build_grpo(options: GRPOOptions, context: BuildContext) -> Objective:
    from dagsdk_rl.grpo import GRPO

    return GRPO(options)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="ddpo",
        summary="Denoising diffusion policy optimisation, with statistics of each prompt",
        build=build_ddpo,
        options=DDPOOptions,
        needs=DDPO_NEEDS,
        unneeded=unneeded_by_ddpo,
    )
    yield ObjectiveSpec(
        name="grpo",
        summary="Group-relative policy optimisation: the images of a prompt are compared with one another",
        build=build_grpo,
        options=GRPOOptions,
        needs=GRPO_NEEDS,
        unneeded=unneeded_by_grpo,
    )
