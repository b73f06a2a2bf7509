"""The training reward of a run: a weighted sum of rewards, each checked against the contract."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from math import isfinite
from typing import TYPE_CHECKING

from dagsdk.errors import ConfigError, RewardError
from dagsdk.rewards.images import check_rewards
from dagsdk.rewards.normalisation import Scales

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.prompts.protocol import Prompt
    from dagsdk.rewards.protocol import Reward


class RewardMixture:
    """Σ weight · reward, itself a reward. With one reward of weight 1 it gives the same bits as that reward.

    rewards: (name, weight, reward), at least one, with different names. Weights are finite. They may be negative, or 0
        for a reward that is reported and not trained for, but not all 0. Anything else is a ConfigError.

    A call raises RewardError, with the name of the reward, where a reward raises (its own error is the cause) or breaks
    the contract of `dagsdk.rewards.images.check_rewards`.
    """

    def __init__(self, rewards: Iterable[tuple[str, float, Reward]]) -> None:
        self.rewards = tuple(rewards)
        count = Counter(name for name, _, _ in self.rewards)
        problems = [f"{name!r} is listed {n} times; list it once" for name, n in count.items() if n > 1]
        problems += [f"{name!r} has weight {w}; it must be finite" for name, w, _ in self.rewards if not isfinite(w)]
        if not self.rewards:
            problems.append("there is none; a run needs at least one: add a [[rewards]] table")
        elif not any(weight for _, weight, _ in self.rewards):
            problems.append("every weight is 0, so there is nothing to train for; give one a weight other than 0")
        if problems:
            raise ConfigError("rewards", problems)

    def __call__(self, images: Tensor, prompts: Sequence[Prompt], /) -> Tensor:
        return self.combine(self.reward_each(images, prompts))

    def reward_each(self, images: Tensor, prompts: Sequence[Prompt], /, *, trained: bool = False) -> dict[str, Tensor]:
        """What each reward returns, by name and without weights: shape (b,), float32.

        trained: whether to leave out rewards of weight 0, which are only reported.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images with {len(prompts)} prompts; each image has one prompt")
        asked = (entry for entry in self.rewards if entry[1] or not trained)
        return {name: _checked(name, reward, images, prompts) for name, _, reward in asked}

    def combine(self, rewards: Mapping[str, Tensor], scales: Scales | None = None, /) -> Tensor:
        """The weighted sum of what `reward_each` returned, normalised by their scales, if any: shape (b,), float32."""
        on_scale = {name: scale(rewards[name]) for name, scale in (scales or {}).items() if name in rewards}
        scaled = {**rewards, **on_scale}
        # not sum(), which starts at 0 and would turn -0.0 into 0.0
        return reduce(operator.add, (weight * scaled[name] for name, weight, _ in self.rewards if name in scaled))

    def metrics(self) -> dict[str, float]:
        """Counts of rewards that have a method `metrics`, since the last call, as ``reward/NAME/KEY``.

        Raises RewardError for a count that is not a finite number.
        """
        found = {}
        for name, _, reward in self.rewards:
            for key, value in getattr(reward, "metrics", dict)().items():
                if not isinstance(value, int | float) or not isfinite(value):
                    raise RewardError(f"reward {name!r} counted {key!r} as {value!r}; it must be a finite number")
                found[f"reward/{name}/{key}"] = float(value)
        return found


def _checked(name: str, reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> Tensor:
    try:
        rewards = reward(images, prompts)
    except (Exception, SystemExit) as error:  # a reward that calls sys.exit() must not end the program
        raise RewardError(
            f"reward {name!r} raised {type(error).__name__}: {error} (for {len(images)} images of shape "
            f"{tuple(images.shape[1:])}); a reward must accept any image in [0, 1]: see the cause above"
        ) from error
    return check_rewards(rewards, images, name, prompts)
