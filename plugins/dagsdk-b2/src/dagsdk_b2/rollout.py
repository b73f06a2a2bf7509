"""The window that grows towards noise, the branches, and which of them are trained on (arXiv 2503.11240)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dagsdk import RolloutPlan, Signals, Trajectories
from dagsdk.errors import TrainingError
from dagsdk_b2.history import History
from dagsdk_b2.options import B2Options

SMALLEST = 1e-8
"""Added to a standard deviation."""


def trained_steps(stage: int, stages: int, first: int, last: int, num_steps: int) -> int:
    """s_i = L + ⌊i (R - L + 1) / S⌋, how many of the last steps stage i = 0..S-1 trains; in 1..T.

    L and R are first and last (0 means T), each at most T. Stages after the last one, S - 1, are like it.
    """
    final = min(last or num_steps, num_steps)
    begin = min(first, final)
    return begin + min(stage, stages - 1) * (final - begin + 1) // stages


def advantages(rewards: Tensor, among: Tensor) -> Tensor:
    """(r - mean) / (population std + 1e-8) with mean and std of `among`; zeros where those are all equal.

    rewards: shape (m,). among: shape (k,), k ≥ 1. Returns shape (m,). Both float64.
    """
    if bool(among.max() == among.min()):  # rounding must not make a difference where there is none
        return torch.zeros_like(rewards)
    return (rewards - among.mean()) / (among.std(correction=0) + SMALLEST)


class B2:
    """The rollout of B²-DiffuRL, under any objective."""

    def __init__(self, options: B2Options | None = None) -> None:
        self.options = options or B2Options()
        self.history = History(self.options.history) if self.options.group == "prompt-history" else None

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan:
        options = self.options
        stages = options.stages or epochs
        stage = epoch if options.progressive else stages - 1
        first = options.first if options.progressive else options.last or num_steps
        begin = num_steps - trained_steps(stage, stages, first, options.last, num_steps)
        return RolloutPlan(
            images_per_prompt=options.images_per_prompt,
            branches=options.branches,
            branch_step=begin if options.branches > 1 else 0,
            window=(begin, num_steps),
        )

    def select(self, trajectories: Trajectories, signals: Signals, /) -> Tensor:
        """Of the siblings in each branch, the best if its advantage is ≥ keep_above, the worst if < -keep_above."""
        advantage, limit = self._advantages(trajectories), self.options.keep_above
        kept = torch.zeros_like(advantage, dtype=torch.bool)
        for branch in trajectories.branch.unique():
            rows = (trajectories.branch == branch).nonzero().squeeze(1)
            best, worst = rows[advantage[rows].argmax()], rows[advantage[rows].argmin()]
            kept[best] |= advantage[best] >= limit
            kept[worst] |= advantage[worst] < -limit
        return kept

    def _advantages(self, trajectories: Trajectories) -> Tensor:
        """Shape (b,), float64."""
        rewards = trajectories.rewards.double()
        result = torch.zeros_like(rewards)
        if self.history is None:
            for branch in trajectories.branch.unique():
                rows = trajectories.branch == branch
                result[rows] = advantages(rewards[rows], rewards[rows])
            return result
        texts = [prompt.text for prompt in trajectories.prompts]
        self.history.add(trajectories.epoch, texts, rewards.tolist())
        for text in dict.fromkeys(texts):
            rows = torch.tensor([other == text for other in texts], device=rewards.device)
            result[rows] = advantages(rewards[rows], rewards.new_tensor(self.history.of(text)))
        return result

    def state_dict(self) -> dict[str, Any]:
        return {} if self.history is None else self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        if self.history is not None:
            self.history.load_state_dict(state)
        elif state:
            raise TrainingError(
                f'b2 with group = "branch" has no state, but was given {sorted(state)} to restore; resume with the '
                "options that the run began with"
            )
