"""Independent trajectories from noise to image, all of them trained on, at every step."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.objectives.protocol import Signals
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.rollouts.protocol import RolloutPlan


class Independent:
    """The rollout of DDPO and DAG."""

    def __init__(self, options: IndependentOptions | None = None) -> None:
        self.options = options or IndependentOptions()

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan:
        return RolloutPlan(images_per_prompt=self.options.images_per_prompt, window=(0, num_steps))

    def select(self, trajectories: Trajectories, signals: Signals, /) -> Tensor:
        return torch.ones_like(trajectories.rewards, dtype=torch.bool)
