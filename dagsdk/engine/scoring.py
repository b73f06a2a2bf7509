"""What the rewards say of an epoch's images, and what they counted on the way."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from attrs import frozen
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.engine.sampler import decoded
from dagsdk.engine.trajectory import Trajectory
from dagsdk.rewards.mixture import Mixture
from dagsdk.rewards.normalisation import Normaliser, rows


@frozen(eq=False)
class Scorer:
    """Scores trajectories, `batch` images at a time, and tells about the scores of all processes."""

    policy: Policy
    reward: Mixture
    normaliser: Normaliser
    accelerator: Accelerator
    batch: int

    def score(self, trajectories: Trajectory, mine: slice, keep: int) -> tuple[Trajectory, dict[str, float], Tensor]:
        """The trajectories with their scores, figures of the epoch, and the first `keep` images, on the CPU.

        mine: the rows of these trajectories among those of all processes.
        """
        scores, shown = self._scores(trajectories, keep)
        everywhere = {name: self.accelerator.gather(values) for name, values in scores.items()}
        scales = rows(self.normaliser.fit(everywhere, self.accelerator.gather(trajectories.group)), mine)
        combined = self.reward.combine(everywhere)
        figures = _spread("reward", combined)
        if len(scores) > 1:
            for name, values in everywhere.items():
                figures |= _spread(f"reward/{name}", values)
        return trajectories.scored(self.reward.combine(scores, scales), scales), figures, shown

    @torch.no_grad()
    def _scores(self, trajectories: Trajectory, keep: int) -> tuple[dict[str, Tensor], Tensor]:
        """Scores by reward, each of shape (b,), float32, and images; they need not all fit in memory."""
        each: dict[str, list[Tensor]] = {name: [] for name, _, _ in self.reward.rewards}
        kept: list[Tensor] = []
        starts = range(0, len(trajectories), self.batch)
        for start, clean in zip(starts, trajectories.clean.split(self.batch), strict=True):
            images = decoded(self.policy, clean, self.batch)
            prompts = trajectories.prompts[start : start + self.batch]
            for name, values in self.reward.score_each(images, prompts).items():
                each[name].append(values)
            kept.append(images[: max(0, keep - start)].cpu())
        return {name: torch.cat(values) for name, values in each.items()}, torch.cat(kept)

    def counted(self) -> dict[str, float]:
        """What rewards counted since the last time, summed over all processes."""
        figures = self.reward.figures()
        if self.accelerator.num_processes == 1:
            return figures
        total: dict[str, float] = {}
        for part in gather_object([figures]):
            total |= {name: total.get(name, 0.0) + value for name, value in part.items()}
        return total


def _spread(key: str, scores: Tensor) -> dict[str, float]:
    return {f"{key}/mean": float(scores.mean()), f"{key}/std": float(scores.std(correction=0))}
