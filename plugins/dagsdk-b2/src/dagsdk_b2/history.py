"""The rewards of each prompt in the current epoch and those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class History:
    """Rewards by prompt and epoch, of the current epoch and the `length` epochs before it.

    Adding an epoch again replaces what it added before, so a repeated epoch gives the same result.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.rewards: dict[str, dict[int, list[float]]] = {}

    def add(self, epoch: int, texts: Sequence[str], rewards: Sequence[float]) -> None:
        """Adds the rewards of an epoch, and forgets epochs that are too old or later than it."""
        kept = range(epoch - self.length, epoch)
        self.rewards = {
            text: {e: own[e] for e in own if e in kept} for text, own in self.rewards.items() if own.keys() & set(kept)
        }
        for text, reward in zip(texts, rewards, strict=True):
            self.rewards.setdefault(text, {}).setdefault(epoch, []).append(reward)

    def of(self, text: str) -> list[float]:
        """All remembered rewards of a prompt, oldest epoch first."""
        own = self.rewards[text]
        return [reward for epoch in sorted(own) for reward in own[epoch]]

    def state_dict(self) -> dict[str, Any]:
        return {
            "rewards": {text: [[e, list(own[e])] for e in sorted(own)] for text, own in self.rewards.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rewards = {text: {e: list(rewards) for e, rewards in own} for text, own in state["rewards"].items()}
