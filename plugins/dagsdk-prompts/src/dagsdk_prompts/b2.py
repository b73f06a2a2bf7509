"""The three templates of B²-DiffuRL (arXiv 2503.11240). The rules are the paper's, some words ours."""

from __future__ import annotations

from pathlib import Path

from dagsdk import Prompt
from dagsdk_prompts.animals import busy
from dagsdk_prompts.options import ListOptions, SplitOptions
from dagsdk_prompts.questions import questions
from dagsdk_prompts.reading import string_list
from dagsdk_prompts.splits import Prompts, part
from dagsdk_prompts.words import (
    ACTIVITIES,
    ANIMALS,
    COLOURS,
    FRUITS,
    PAIRS,
    RELATIONS,
    UNSEEN_RELATIONS,
    VEGETABLES,
)


def activities(options: SplitOptions) -> Prompts:
    """Training: animals 1 to 15 wash dishes, 16 to 30 ride a bike, 31 to 45 play chess (45 prompts).

    Test: each animal with its two other activities (90). The article is always "a".
    """
    share = len(ANIMALS) // len(ACTIVITIES)
    train: list[Prompt] = []
    test: list[Prompt] = []
    for place, animal in enumerate(ANIMALS):
        for number, activity in enumerate(ACTIVITIES):
            (train if number == place // share else test).append(busy(f"a {animal}", animal, activity))
    return part(options.split, train, test)


def colours(options: ListOptions) -> Prompts:
    """Training: 20 fruits in two usual colours (40). Test: each in an unusual colour, and 20 vegetables (40)."""
    if options.file:
        return _published(options.file)
    train = [_coloured(colour, fruit) for fruit, usual in FRUITS.items() for colour in usual]
    seen = [_coloured(_unusual(i, usual), fruit) for i, (fruit, usual) in enumerate(FRUITS.items())]
    unseen = [_coloured(COLOURS[i % len(COLOURS)], vegetable) for i, vegetable in enumerate(VEGETABLES)]
    return part(options.split, train, [*seen, *unseen])


def relations(options: ListOptions) -> Prompts:
    """Training: 10 pairs of things in 4 relations (40). Test: 10 new pairs, and those in 2 new relations (30)."""
    if options.file:
        return _published(options.file)
    train = [_related(thing, relation, other) for thing, other in PAIRS for relation in RELATIONS]
    shifted = [(thing, PAIRS[(i + 1) % len(PAIRS)][1]) for i, (thing, _) in enumerate(PAIRS)]
    new_pairs = [_related(thing, RELATIONS[i % len(RELATIONS)], other) for i, (thing, other) in enumerate(shifted)]
    new_relations = [_related(thing, relation, other) for thing, other in PAIRS for relation in UNSEEN_RELATIONS]
    return part(options.split, train, [*new_pairs, *new_relations])


def _unusual(place: int, usual: tuple[str, str]) -> str:
    """The first colour that is not a usual one, counted from `place` on, in a circle."""
    return next(c for i in range(len(COLOURS)) if (c := COLOURS[(place + i) % len(COLOURS)]) not in usual)


def _coloured(colour: str, thing: str) -> Prompt:
    return Prompt(f"{colour} {thing}", questions((f"Is the {thing} {colour}?", "yes")))


def _related(thing: str, relation: str, other: str) -> Prompt:
    return Prompt(f"{thing} {relation} {other}", questions((f"Is the {thing} {relation} the {other}?", "yes")))


def _published(file: str) -> Prompts:
    return tuple(Prompt(text) for text in string_list(Path(file).expanduser()))
