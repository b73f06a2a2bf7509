"""Rewards that draw from global generators, such as one with dropout, draw from their run's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor

from dagsdk.engine.generators import GlobalGenerators
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.protocol import Reward


class SeededRewards(RewardMixture):
    """A mixture whose rewards find the run's generators, and leave the host's as they were."""

    def __init__(self, rewards: Iterable[tuple[str, float, Reward]], generators: GlobalGenerators) -> None:
        super().__init__(rewards)
        self._generators = generators

    def reward_each(self, images: Tensor, prompts: Sequence[Prompt], /, *, trained: bool = False) -> dict[str, Tensor]:
        with self._generators.in_use():
            return super().reward_each(images, prompts, trained=trained)
