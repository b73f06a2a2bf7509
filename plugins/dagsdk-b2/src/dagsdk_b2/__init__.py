"""Backward progressive training and branch-based sampling (arXiv 2503.11240). Torch loads in `build`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dagsdk import BuildContext, RolloutSpec, hookimpl
from dagsdk_b2.options import B2Options

if TYPE_CHECKING:
    from dagsdk.rollouts.protocol import Rollout


def build(options: B2Options, context: BuildContext) -> Rollout:
    from dagsdk_b2.rollout import B2

    return B2(options)


@hookimpl
def dagsdk_rollouts() -> Iterable[RolloutSpec[B2Options]]:
    yield RolloutSpec(
        name="b2",
        summary="Trains a growing tail of the steps, on the best and the worst of each branching",
        build=build,
        options=B2Options,
        images=lambda options: options.images_per_prompt * options.branches,
    )
