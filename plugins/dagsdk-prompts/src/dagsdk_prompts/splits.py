"""Train and test parts of a set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from dagsdk import Prompt
from dagsdk_prompts.options import Split

Prompts = tuple[Prompt, ...]


def part(split: Split, train: Iterable[Prompt], test: Iterable[Prompt]) -> Prompts:
    """One of the parts; "all" means train, then test."""
    return (*(train if split != "test" else ()), *(test if split != "train" else ()))


def first_held_out(prompts: Iterable[Prompt], key: str, count: int, split: Split) -> Prompts:
    """Of the prompts with the same metadata under `key`, the first `count` are the test part."""
    seen: Counter[str] = Counter()
    train: list[Prompt] = []
    test: list[Prompt] = []
    for prompt in prompts:
        seen[prompt.metadata[key]] += 1
        (test if seen[prompt.metadata[key]] <= count else train).append(prompt)
    return part(split, train, test)
