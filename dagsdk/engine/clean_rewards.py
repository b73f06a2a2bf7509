"""Rewards of clean states x̂_0, as training sees them: decoded, weighted, on the scales of their trajectories."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.errors import RewardError
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import rows


@frozen(eq=False)
class CleanRewards:
    """r(decode(x̂_0), c) of clean states, `batch` at a time."""

    policy: Policy
    reward: RewardMixture
    batch: int

    def of(self, clean: Tensor, trajectories: Trajectories, sample: Tensor, *, differentiable: bool = False) -> Tensor:
        """Rewards of clean states (n, *latent): shape (n,), float32.

        sample: which trajectory each is a state of, shape (n,); it has that one's prompt and scales.
        differentiable: whether a reward that lets no gradient through is an error (RewardError).
        """
        found = []
        for part, index in zip(clean.split(self.batch), sample.split(self.batch), strict=True):
            prompts = [trajectories.prompts[i] for i in index.tolist()]
            each = self.reward.reward_each(self.policy.model.decode(part), prompts, trained=True)
            for name in (name for name, own in each.items() if differentiable and not own.requires_grad):
                raise RewardError(
                    f"reward {name!r} returned rewards without a gradient; an objective that needs REWARD_GRADIENT "
                    "takes rewards that are differentiable functions of the images; choose others"
                )
            found.append(self.reward.combine(each, rows(trajectories.latents.scales, index)))
        return torch.cat(found)

    def gradient(self, clean: Tensor, states: Tensor, trajectories: Trajectories, sample: Tensor) -> Tensor:
        """∇ of the reward of clean states with respect to the states that they were computed from: float32, detached.

        Raises RewardError for a reward that lets no gradient through.
        """
        rewards = self.of(clean, trajectories, sample, differentiable=True)
        return torch.autograd.grad(rewards.sum(), states, retain_graph=True)[0].float()
