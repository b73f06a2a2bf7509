"""GRPO (arXiv 2402.03300) on the denoising chain: the images of a prompt are one another's baseline."""

from __future__ import annotations

import torch

from dagsdk.errors import TrainingError
from dagsdk.objectives.detailed_balance import required
from dagsdk.objectives.protocol import Loss, Signals, Trajectories, Transitions
from dagsdk.objectives.stateless import Stateless
from dagsdk_rl.options import GRPO_NEEDS, GRPOOptions, unneeded_by_grpo
from dagsdk_rl.surrogate import policy_loss

SMALLEST = 1e-4
"""Added to a standard deviation."""


class GRPO(Stateless):
    """Clipped policy loss on advantages within a group, plus kl_weight times the distance from the reference."""

    def __init__(self, options: GRPOOptions | None = None) -> None:
        self.options = options or GRPOOptions()
        self.needs = GRPO_NEEDS - unneeded_by_grpo(self.options)

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        """A = (r - mean of the group) / (population std + 1e-4); 0 in groups whose scores are all the same."""
        scores = trajectories.scores.double()
        advantages = torch.zeros_like(scores)
        groups = [(trajectories.group == g).nonzero().squeeze(1) for g in trajectories.group.unique()]
        if max(map(len, groups)) < 2:
            raise TrainingError(
                "objective 'grpo' compares the images of a prompt, and the rollout has one a prompt; set "
                "rollout.images_per_prompt >= 2"
            )
        batch_std, flat = scores.std(correction=0), 0
        for rows in groups:
            own = scores[rows]
            if bool(own.max() == own.min()):  # rounding must not make a difference where there is none
                flat += 1
                continue
            std = own.std(correction=0) if self.options.std == "group" else batch_std
            advantages[rows] = (own - own.mean()) / (std + SMALLEST)
        limit = self.options.advantage_clip
        metrics = {
            "zero_std_groups": float(flat),
            "zero_std_share": flat / len(groups),
            "advantage_clipped": float((advantages.abs() > limit).double().mean()),
        }
        return Signals(values=advantages.clamp(-limit, limit).to(trajectories.scores.dtype), metrics=metrics)

    def loss(self, batch: Transitions, /) -> Loss:
        values, metrics = policy_loss(batch, self.options.clip_range)
        if not self.options.kl_weight:
            return Loss(values=values, metrics=metrics)
        name = "reference_kl" if self.options.kl == "x" else "reference_gap"
        distance = required(getattr(batch, name), name)
        values = values + self.options.kl_weight * distance
        return Loss(values=values, metrics={**metrics, name: distance.detach()})
