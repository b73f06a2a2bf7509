"""Statistics of each prompt's latest rewards, as in the code of DDPO (arXiv 2305.13301)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Added to a standard deviation."""


class Tracker:
    """The last `history` rewards of each prompt's text.

    min_count: a prompt with fewer is standardised by all rewards of the epoch.
    """

    def __init__(self, history: int, min_count: int) -> None:
        self.history = history
        self.min_count = min_count
        self.rewards: dict[str, deque[float]] = {}

    def advantages(self, texts: Sequence[str], rewards: Tensor) -> tuple[Tensor, Tensor]:
        """Remembers an epoch's rewards, then standardises them: (r - mean) / (population std + 1e-6).

        texts: b of them. rewards: shape (b,), float64. Returns advantages of shape (b,), float64, and a bool of shape
        (b,): whether the prompt's own statistics were used.
        """
        for text, reward in zip(texts, rewards.tolist(), strict=True):
            self.rewards.setdefault(text, deque(maxlen=self.history)).append(reward)
        everything = _mean_and_std(rewards)
        by_text = {}
        for text in dict.fromkeys(texts):
            own = self.rewards[text]
            enough = len(own) >= self.min_count
            by_text[text] = (*(_mean_and_std(rewards.new_tensor(list(own))) if enough else everything), enough)
        mean, std, tracked = zip(*(by_text[text] for text in texts), strict=True)
        advantages = (rewards - rewards.new_tensor(mean)) / (rewards.new_tensor(std) + SMALLEST)
        return advantages, torch.tensor(tracked, device=rewards.device)

    def state_dict(self) -> dict[str, Any]:
        return {"rewards": {text: list(own) for text, own in self.rewards.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rewards = {text: deque(own, maxlen=self.history) for text, own in state["rewards"].items()}


def _mean_and_std(rewards: Tensor) -> tuple[float, float]:
    return float(rewards.mean()), float(rewards.std(correction=0))
