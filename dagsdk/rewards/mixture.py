"""The training reward of a run: a weighted sum of rewards, each held to the contract."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from math import isfinite
from typing import TYPE_CHECKING

from dagsdk.errors import ConfigError, RewardError
from dagsdk.rewards.images import check_scores
from dagsdk.rewards.normalisation import Scales

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt
    from dagsdk.rewards.protocol import Reward


class Mixture:
    """Σ weight · score, itself a reward. One reward of weight 1 gives that reward's scores to the bit.

    rewards: (name, weight, reward), at least one; names differ; weights are finite, and may be negative or 0
        (the reward is then scored but does not count), but not all 0. Anything else is a ConfigError.

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
        elif not any(weight for _, weight, _ in self.rewards):
            problems.append("every weight is 0, so nothing is trained for; give one reward a weight other than 0")
        if problems:
            raise ConfigError("rewards", problems)

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        return self.combine(self.score_each(images, prompts))

    def score_each(self, images: Tensor, prompts: Sequence[Prompt], /, *, trained: bool = False) -> dict[str, Tensor]:
        """Scores by reward, without weights: each of shape (b,), float32.

        trained: leave out those of weight 0, which are only watched.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images with {len(prompts)} prompts; each image has one prompt")
        scored = (entry for entry in self.rewards if entry[1] or not trained)
        return {name: _score(name, reward, images, prompts) for name, _, reward in scored}

    def combine(self, scores: Mapping[str, Tensor], scales: Scales | None = None, /) -> Tensor:
        """The weighted sum of what `score_each` gave, each on its scale if it has one: shape (b,), float32."""
        on_scale = {name: scale(scores[name]) for name, scale in (scales or {}).items() if name in scores}
        scaled = {**scores, **on_scale}
        # not sum(), which starts from 0 and would turn -0.0 into 0.0
        return reduce(operator.add, (weight * scaled[name] for name, weight, _ in self.rewards if name in scaled))

    def figures(self) -> dict[str, float]:
        """What rewards with a method `metrics` have counted since the last time, as ``reward/NAME/KEY``.

        Raises RewardError for one that is not a finite number.
        """
        found = {}
        for name, _, reward in self.rewards:
            for key, value in getattr(reward, "metrics", dict)().items():
                if not isinstance(value, int | float) or not isfinite(value):
                    raise RewardError(f"reward {name!r} counted {key!r} as {value!r}; it must be a finite number")
                found[f"reward/{name}/{key}"] = float(value)
        return found


def _score(name: str, reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    try:
        scores = reward(images, prompts)
    except Exception as error:
        raise RewardError(
            f"reward {name!r} raised {type(error).__name__}: {error} (scoring {len(images)} images of shape "
            f"{tuple(images.shape[1:])}); a reward must score any image in [0, 1]: see the cause above"
        ) from error
    return check_scores(scores, images, name, prompts)
