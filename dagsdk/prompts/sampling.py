"""Which prompts an epoch uses: shuffled by a seed, divided among processes, resumable from one number."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from dagsdk.errors import ConfigError, RunFolderError
from dagsdk.prompts.protocol import Prompt, PromptSet

CHECKED = 1000
"""How many prompts are checked before a run; a set may have millions, and read them from a disk."""


class PromptSampler:
    """Draws prompts without end: pass after pass over the set, each pass in a new seeded order.

    Every prompt comes once per pass. What is drawn depends only on the seed and the position, not on how many prompts
    are taken at a time, nor on the number of processes.

    prompt_set: at least one `Prompt`.
    seed: >= 0.

    Raises ConfigError for an empty set, and for items that are not prompts.
    """

    def __init__(self, prompt_set: PromptSet, seed: int) -> None:
        if len(prompt_set) == 0:
            raise ConfigError("prompts", ["the set is empty; it must hold at least one: check [prompts]"])
        items: Sequence[object] = prompt_set  # made by a plugin, so it may hold anything
        for index, prompt in enumerate(islice(items, CHECKED)):
            if not isinstance(prompt, Prompt):
                problem = f"item {index} is {prompt!r}; each must be a dagsdk.Prompt: wrap it as Prompt(text)"
                raise ConfigError("prompts", [problem])
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be >= 0")
        self.prompts = prompt_set
        self.seed = seed
        self.position = 0

    def take(self, count: int) -> list[int]:
        """Indices of the next `count` prompts, after which the position moves."""
        if count < 0:
            raise ValueError(f"count is {count}; it must be >= 0")
        size = len(self.prompts)
        places = (divmod(place, size) for place in range(self.position, self.position + count))
        self.position += count
        return [int(_order(self.seed, turn, size)[place]) for turn, place in places]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "seed": self.seed, "size": len(self.prompts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a saved position. Raises RunFolderError for one of another seed or prompt set."""
        for key, mine in (("seed", self.seed), ("size", len(self.prompts))):
            if state[key] != mine:
                raise RunFolderError(
                    f"the saved prompt order has {key} {state[key]}, this run has {mine}; a run continues with the "
                    "seed and prompts that it began with: restore them, or start a new run"
                )
        position = operator.index(state["position"])
        if position < 0:
            raise RunFolderError(
                f"the saved position is {position}; it must be >= 0: this checkpoint is damaged, use another"
            )
        self.position = position


def shard(indices: Sequence[int], rank: int, world: int) -> list[int]:
    """The contiguous part of `indices` for process `rank` of `world`. Lengths differ by at most one.

    The parts in the order of ranks are `indices` again, so gathered results are in the order of a single process.
    """
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} processes; it must be 0 <= rank < world")
    return list(indices[len(indices) * rank // world : len(indices) * (rank + 1) // world])


@lru_cache(maxsize=4)
def _order(seed: int, turn: int, size: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    # NumPy keeps the raw numbers of a bit generator the same across releases, but not `Generator.permutation`
    return np.argsort(np.random.PCG64([seed, turn]).random_raw(size), kind="stable")
