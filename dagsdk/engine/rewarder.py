"""What the rewards make of an epoch's images, and what they counted on the way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.engine.processes import Processes
from dagsdk.engine.sampler import decoded
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Normaliser, rows

SHOWN = 32
"""How many of an epoch's images are shown."""


@frozen(eq=False)
class Rewarder:
    """Decodes and rewards trajectories, `batch` images at a time.

    show: called once per epoch with the trajectories and their first images, at most SHOWN, on the CPU.
    """

    policy: Policy
    reward: RewardMixture
    normaliser: Normaliser
    processes: Processes
    batch: int
    show: Callable[[Trajectories, Tensor], None] = field(default=lambda trajectories, images: None)

    def reward_all(self, trajectories: Trajectories) -> Trajectories:
        """The trajectories with raw rewards, and with rewards on their scales, weighted and summed."""
        raw, images = self._raw(trajectories)
        gather = self.processes.gather_rows
        everywhere = {name: gather(values) for name, values in raw.items()}
        scales = self.normaliser.fit(everywhere, gather(trajectories.group))
        mine = rows(scales, self.processes.rows(len(trajectories)))
        rewarded = evolve(
            trajectories,
            rewards=self.reward.combine(raw, mine),
            raw_rewards=raw,
            latents=evolve(trajectories.latents, scales=mine),
        )
        self.show(rewarded, images)
        return rewarded

    def metrics(self, everyone: Trajectories) -> dict[str, float]:
        """Mean and spread of the raw rewards of all processes' sampled images, and what rewards counted."""
        raw = everyone.raw_rewards
        replayed = bool(everyone.replayed.any())
        if replayed:
            raw = {name: values[~everyone.replayed] for name, values in raw.items()}
        metrics = _spread("reward", self.reward.combine(raw))
        if len(raw) > 1:
            for name, values in raw.items():
                metrics |= _spread(f"reward/{name}", values)
        if replayed:
            metrics["replayed/mean"] = float(everyone.rewards[everyone.replayed].mean())
        return metrics | self._counted()

    @torch.no_grad()
    def _raw(self, trajectories: Trajectories) -> tuple[dict[str, Tensor], Tensor]:
        """Rewards by name, each of shape (b,), float32, and the first images; they need not all fit in memory."""
        each: dict[str, list[Tensor]] = {name: [] for name, _, _ in self.reward.rewards}
        kept: list[Tensor] = []
        clean = trajectories.latents.clean
        starts = range(0, len(trajectories), self.batch)
        for start, part in zip(starts, clean.split(self.batch), strict=True):
            images = decoded(self.policy, part, self.batch)
            prompts = trajectories.prompts[start : start + self.batch]
            for name, values in self.reward.reward_each(images, prompts).items():
                each[name].append(values)
            kept.append(images[: max(0, SHOWN - start)].cpu())
        return {name: torch.cat(values) for name, values in each.items()}, torch.cat(kept)

    def _counted(self) -> dict[str, float]:
        """What rewards counted since the last time, summed over all processes."""
        total: dict[str, float] = {}
        for part in self.processes.objects(self.reward.metrics()):
            total = {name: total.get(name, 0.0) + part.get(name, 0.0) for name in {**total, **part}}
        return total


def _spread(key: str, rewards: Tensor) -> dict[str, float]:
    return {f"{key}/mean": float(rewards.mean()), f"{key}/std": float(rewards.std(correction=0))}
