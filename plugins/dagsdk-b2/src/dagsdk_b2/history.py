"""What a prompt's images scored in this epoch and in those before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class History:
    """Scores by prompt and epoch, of the current epoch and `length` before it.

    An epoch that is told twice replaces what it told before, so that asking again gives the same.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.scores: dict[str, dict[int, list[float]]] = {}

    def add(self, epoch: int, texts: Sequence[str], scores: Sequence[float]) -> None:
        """Puts an epoch's scores in, and forgets the epochs that are too old, or yet to come."""
        kept = range(epoch - self.length, epoch)
        self.scores = {
            text: {e: own[e] for e in own if e in kept} for text, own in self.scores.items() if own.keys() & set(kept)
        }
        for text, score in zip(texts, scores, strict=True):
            self.scores.setdefault(text, {}).setdefault(epoch, []).append(score)

    def of(self, text: str) -> list[float]:
        """All that is remembered of a prompt, oldest epoch first."""
        own = self.scores[text]
        return [score for epoch in sorted(own) for score in own[epoch]]

    def state_dict(self) -> dict[str, Any]:
        return {
            "scores": {text: [[e, list(own[e])] for e in sorted(own)] for text, own in self.scores.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scores = {text: {e: list(scores) for e, scores in own} for text, own in state["scores"].items()}
