"""Animals: by name, with activities, and in numbers (DDPO, arXiv 2305.13301)."""

from __future__ import annotations

from itertools import combinations

import inflect

from dagsdk import NoOptions, Prompt
from dagsdk_prompts.indexed import Indexed
from dagsdk_prompts.options import AnimalsOptions, CountingOptions
from dagsdk_prompts.questions import questions
from dagsdk_prompts.words import ACTIVITIES, ANIMALS


def names(options: AnimalsOptions) -> tuple[Prompt, ...]:
    """One prompt per animal."""
    return tuple(Prompt(options.template.replace("{animal}", animal)) for animal in ANIMALS)


def activities(options: NoOptions) -> tuple[Prompt, ...]:
    """Each animal with each activity: all animals with the first activity, then all with the second, and so on."""
    grammar = inflect.engine()
    return tuple(busy(str(grammar.a(animal)), animal, activity) for activity in ACTIVITIES for animal in ANIMALS)


def busy(subject: str, animal: str, activity: str) -> Prompt:
    """A prompt for one animal with an activity, and two questions: is it there, and does it do that?"""
    return Prompt(
        f"{subject} {activity}",
        questions((f"Is there {subject} in this image?", "yes"), (f"Is the {animal} {activity}?", "yes")),
    )


class Counted(Indexed):
    """Numbers of animals: each kind (or pair of kinds) in each number (or pair of numbers) from low to high."""

    def __init__(self, options: CountingOptions) -> None:
        self._low = options.low
        self._numbers = options.high - options.low + 1
        self._kinds = tuple(combinations(ANIMALS, options.animals))
        self._combinations = int(self._numbers**options.animals)
        grammar = inflect.engine()
        self._plural = {animal: grammar.plural_noun(animal) for animal in ANIMALS}
        self._word = {
            number: str(grammar.number_to_words(str(number))) for number in range(options.low, options.high + 1)
        }

    def __len__(self) -> int:
        return len(self._kinds) * self._combinations

    def at(self, index: int) -> Prompt:
        rest, which = divmod(index, len(self._kinds))
        counted = []
        for animal in self._kinds[which]:
            rest, above = divmod(rest, self._numbers)
            counted.append((self._low + above, animal))
        named = (f"{self._word[n]} {animal if n == 1 else self._plural[animal]}" for n, animal in counted)
        asked = ((f"How many {self._plural[animal]} are there in this image?", str(n)) for n, animal in counted)
        return Prompt(" and ".join(named), questions(*asked))
