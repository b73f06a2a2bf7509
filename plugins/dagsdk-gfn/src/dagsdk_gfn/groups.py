"""Which trajectories of an epoch are compared with each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dagsdk import Trajectories
from dagsdk.errors import TrainingError


def prompt_groups(trajectories: Trajectories) -> Tensor:
    """A number per trajectory, the same for the same prompt: shape (b,), int64.

    A prompt that an epoch draws twice is one group, since its target is the same (`Trajectories.group` has two).
    Raises TrainingError where every prompt has one image only.
    """
    numbers: dict[Any, int] = {}
    group = [numbers.setdefault(prompt, len(numbers)) for prompt in trajectories.prompts]
    if len(numbers) == len(group):
        raise TrainingError(
            'objective.group is "prompt", and every prompt of the epoch has one image, which leaves nothing to '
            'compare; set rollout.images_per_prompt >= 2, or objective.group = "epoch"'
        )
    return torch.tensor(group, device=trajectories.rewards.device)
