"""Policy gradients on the denoising chain: DDPO, with reward-weighted regression as a variant, and GRPO."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import ObjectiveSpec, hookimpl
from dagsdk_rl.options import DDPOOptions, GRPOOptions, ddpo_needs, grpo_needs


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="ddpo",
        summary="Denoising diffusion policy optimisation, with statistics of each prompt (arXiv 2305.13301)",
        build="dagsdk_rl.ddpo:DDPO",
        options=DDPOOptions,
        needs=ddpo_needs,
    )
    yield ObjectiveSpec(
        name="grpo",
        summary="Group-relative policy optimisation: a prompt's images are compared with each other (arXiv 2402.03300)",
        build="dagsdk_rl.grpo:GRPO",
        options=GRPOOptions,
        needs=grpo_needs,
        compares_images=True,
    )
