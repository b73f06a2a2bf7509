"""The training reward of a run: a weighted sum of rewards, each held to the contract."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from math import isfinite
from typing import TYPE_CHECKING

from dagsdk.errors import ConfigError, RewardError
from dagsdk.rewards.images import check_scores

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt
    from dagsdk.rewards.protocol import Reward


class Mixture:
    """Σ weight · score, itself a reward. One reward of weight 1 gives that reward's scores to the bit.

    rewards: (name, weight, reward), at least one; names differ; weights are finite, and may be negative or 0
        (the reward is then scored but does not count). Anything else is a ConfigError.

    Scoring raises RewardError, naming the reward, where one raises (its own error is the cause) or breaks the
    contract of `dagsdk.rewards.images.check_scores`.
    """

    def __init__(self, rewards: Iterable[tuple[str, float, Reward]]) -> None:
        self.rewards = tuple(rewards)
        count = Counter(name for name, _, _ in self.rewards)
        problems = [f"{name!r} is there {n} times; use it once, with one weight" for name, n in count.items() if n > 1]
        problems += [f"{name!r} has weight {w}; it must be finite" for name, w, _ in self.rewards if not isfinite(w)]
        if not self.rewards:
            problems.append("there are none; there must be at least one: add a [[rewards]] table")
        if problems:
            raise ConfigError("rewards", problems)

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        return self.combine(self.score_each(images, prompts))

    def score_each(self, images: Tensor, prompts: Sequence[Prompt], /) -> dict[str, Tensor]:
        """Scores by reward, without weights: each of shape (b,), float32."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images with {len(prompts)} prompts; each image has one prompt")
        return {name: _score(name, reward, images, prompts) for name, _, reward in self.rewards}

    def combine(self, scores: dict[str, Tensor], /) -> Tensor:
        """The weighted sum of what `score_each` gave: shape (b,), float32."""
        # not sum(), which starts from 0 and would turn -0.0 into 0.0
        return reduce(operator.add, (weight * scores[name] for name, weight, _ in self.rewards))


def _score(name: str, reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    try:
        scores = reward(images, prompts)
    except Exception as error:
        raise RewardError(
            f"reward {name!r} raised {type(error).__name__}: {error} (scoring {len(images)} images of shape "
            f"{tuple(images.shape[1:])}); a reward must score any image in [0, 1]: see the cause above"
        ) from error
    return check_scores(scores, images, name, prompts)
