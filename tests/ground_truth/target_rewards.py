"""A local plugin: what pays for lying where the target is dense. `measure.py` puts `target` on the path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, Prompt, RewardSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor


def build_density(options: Any, context: BuildContext) -> Any:
    from target import log_density

    def density(points: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return log_density(points)

    return density


def build_ratio(options: Any, context: BuildContext) -> Any:
    from target import log_ratio

    def ratio(points: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return log_ratio(points)

    return ratio


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    yield RewardSpec(name="target-density", summary="Log-density of the target", build=build_density)
    yield RewardSpec(name="target-ratio", summary="Log-ratio of the target to the pretraining data", build=build_ratio)
