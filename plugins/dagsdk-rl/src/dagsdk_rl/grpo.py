"""GRPO (arXiv 2402.03300) on the denoising chain: the baseline of an image is the other images of its prompt."""

from __future__ import annotations

import torch

from dagsdk import Loss, Signals, Stateless, Trajectories, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.toolbox import policy_loss
from dagsdk_rl.options import GRPOOptions

SMALLEST = 1e-4
"""Added to a standard deviation."""


class GRPO(Stateless):
    """`grpo`: clipped policy loss on advantages within a group, plus kl_weight · distance from the reference."""

    def __init__(self, options: GRPOOptions | None = None) -> None:
        self.options = options or GRPOOptions()

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        """A = (r - mean of the group) / (population std + 1e-4); 0 in groups whose rewards are all the same."""
        rewards = trajectories.rewards.double()
        advantages = torch.zeros_like(rewards)
        groups = [(trajectories.group == g).nonzero().squeeze(1) for g in trajectories.group.unique()]
        if max(map(len, groups)) < 2:
            raise TrainingError(
                "objective 'grpo' compares the images of a prompt, and the rollout has one image per prompt; set "
                "rollout.images_per_prompt >= 2"
            )
        batch_std, flat = rewards.std(correction=0), 0
        for rows in groups:
            own = rewards[rows]
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
        return Signals(values=advantages.clamp(-limit, limit).to(trajectories.rewards.dtype), metrics=metrics)

    def loss(self, batch: Transitions, /) -> Loss:
        values, metrics = policy_loss(batch, self.options.clip_range)
        if not self.options.kl_weight:
            return Loss(values=values, metrics=metrics)
        if self.options.kl == "x":
            name, distance = "reference_kl", batch.reference.kl
        else:
            name, distance = "reference_gap", batch.reference.gap
        values = values + self.options.kl_weight * distance
        return Loss(values=values, metrics={**metrics, name: distance.detach()})
