"""Images of sampled trajectories, and what the rewards say of them."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.engine.sampler import decoded
from dagsdk.engine.trajectory import Trajectory
from dagsdk.rewards.mixture import Mixture


@torch.no_grad()
def score_trajectories(
    policy: Policy, reward: Mixture, trajectories: Trajectory, batch: int, keep: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Decodes and scores `batch` clean states at a time, so that images need not all fit in memory.

    returns: scores by reward, each of shape (b,), float32; and the first `keep` images, on the CPU.
    """
    each: dict[str, list[Tensor]] = {name: [] for name, _, _ in reward.rewards}
    kept: list[Tensor] = []
    for start, clean in zip(range(0, len(trajectories), batch), trajectories.clean.split(batch), strict=True):
        images = decoded(policy, clean, batch)
        for name, values in reward.score_each(images, trajectories.prompts[start : start + batch]).items():
            each[name].append(values)
        kept.append(images[: max(0, keep - start)].cpu())
    return {name: torch.cat(values) for name, values in each.items()}, torch.cat(kept)
