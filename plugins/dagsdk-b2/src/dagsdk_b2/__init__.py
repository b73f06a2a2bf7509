"""Backward progressive training and branch-based sampling (arXiv 2503.11240)."""

from __future__ import annotations

from collections.abc import Iterable

from dagsdk import RolloutSpec, hookimpl
from dagsdk_b2.options import B2Options


@hookimpl
def dagsdk_rollouts() -> Iterable[RolloutSpec[B2Options]]:
    yield RolloutSpec(
        name="b2",
        summary="Trains a growing part of the last steps, on the best and the worst of each set of branches",
        build="dagsdk_b2.rollout:B2",
        options=B2Options,
        images=lambda options: options.images_per_prompt * options.branches,
    )
