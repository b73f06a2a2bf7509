"""What a prompt's images have scored lately, as the code of DDPO (arXiv 2305.13301) judges them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Added to a standard deviation."""


class Tracker:
    """The last `history` scores of each prompt's text.

    min_count: a prompt with fewer is judged by all scores of the epoch.
    """

    def __init__(self, history: int, min_count: int) -> None:
        self.history = history
        self.min_count = min_count
        self.scores: dict[str, deque[float]] = {}

    def advantages(self, texts: Sequence[str], scores: Tensor) -> tuple[Tensor, Tensor]:
        """Remembers an epoch's scores, then standardises them: (r - mean) / (population std + 1e-6).

        texts: b of them. scores: shape (b,), float64. Returns advantages of shape (b,), float64, and a bool of shape
        (b,): whether the prompt's own statistics were used.
        """
        for text, score in zip(texts, scores.tolist(), strict=True):
            self.scores.setdefault(text, deque(maxlen=self.history)).append(score)
        everything = _mean_and_std(scores)
        by_text = {}
        for text in dict.fromkeys(texts):
            own = self.scores[text]
            enough = len(own) >= self.min_count
            by_text[text] = (*(_mean_and_std(scores.new_tensor(list(own))) if enough else everything), enough)
        mean, std, tracked = zip(*(by_text[text] for text in texts), strict=True)
        advantages = (scores - scores.new_tensor(mean)) / (scores.new_tensor(std) + SMALLEST)
        return advantages, torch.tensor(tracked, device=scores.device)

    def state_dict(self) -> dict[str, Any]:
        return {"scores": {text: list(own) for text, own in self.scores.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scores = {text: deque(own, maxlen=self.history) for text, own in state["scores"].items()}


def _mean_and_std(scores: Tensor) -> tuple[float, float]:
    return float(scores.mean()), float(scores.std(correction=0))
