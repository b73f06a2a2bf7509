"""Several prompt sets as one, each with its share of the prompts."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import gcd, isfinite
from typing import overload

from dagsdk.prompts.protocol import Prompt, PromptSet

SLOTS = 1000
"""Shares are kept to a thousandth."""


class PromptMixture(Sequence[Prompt]):
    """A sequence made of periods, in each of which every set has its share.

    The prompts of a set come in their order, again and again, until the largest set (relative to its share) is
    complete. Nothing is copied.

    sets: (weight, prompts), at least one; weights are finite and > 0, sets are not empty.
    """

    def __init__(self, sets: Sequence[tuple[float, PromptSet]]) -> None:
        for weight, prompts in sets:
            if not (isfinite(weight) and weight > 0 and len(prompts)):
                raise ValueError(f"a set of {len(prompts)} prompts has weight {weight}; both must be > 0")
        self._sets = tuple(prompts for _, prompts in sets)
        counts = _slots([weight for weight, _ in sets])
        self._counts = counts
        self._period = _spread(counts)
        rounds = max(-(-len(prompts) // count) for prompts, count in zip(self._sets, counts, strict=True))
        self._length = rounds * len(self._period)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._length))]
        place = operator.index(index)
        if not -self._length <= place < self._length:
            raise IndexError(f"prompt {place} of {self._length}")
        turn, slot = divmod(place % self._length, len(self._period))
        which, nth = self._period[slot]
        prompts = self._sets[which]
        return prompts[(turn * self._counts[which] + nth) % len(prompts)]


def _slots(weights: Sequence[float]) -> list[int]:
    """How many of a period's slots each set has: its share to a thousandth, and at least one."""
    total = sum(weights)
    counts = [max(1, round(SLOTS * weight / total)) for weight in weights]
    common = gcd(*counts)
    return [count // common for count in counts]


def _spread(counts: Sequence[int]) -> list[tuple[int, int]]:
    """For each slot of a period, (set, number of the set's earlier slots), spread as evenly as possible."""
    slots = sorted(((nth + 0.5) / count, which, nth) for which, count in enumerate(counts) for nth in range(count))
    return [(which, nth) for _, which, nth in slots]
