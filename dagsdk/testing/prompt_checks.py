"""The contract of prompt sets (`dagsdk.prompts.protocol.PromptSet`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from attrs import define

from dagsdk.prompts.protocol import Prompt
from dagsdk.specs import PromptSpec
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, NotApplicable, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.isolation import offline

FIRST, SPREAD = 1000, 16
"""Of a large set only some items are checked: so many at its beginning, and so many more spread over the rest."""


@define(eq=False, kw_only=True)
class PromptSetCase(Case):
    """A prompt set under test."""

    spec: PromptSpec[Any]

    @cached_property
    def indices(self) -> Sequence[int]:
        """Of the items that are checked."""
        size = len(self.built)
        return sorted({*range(min(size, FIRST)), *(size * i // SPREAD for i in range(SPREAD)), size - 1} - {-1})

    @cached_property
    def prompts(self) -> dict[int, Prompt]:
        """The items that are checked, by index, as far as they are prompts."""
        items = ((index, self.built[index]) for index in self.indices)
        return {index: item for index, item in items if isinstance(item, Prompt) and isinstance(item.text, str)}


def check_it_is_a_sequence(case: PromptSetCase) -> None:
    """A prompt set has a length of at least one, items by index, and an IndexError past the end."""
    made = case.built
    try:
        size = len(made)
    except TypeError as error:
        raise ContractError(
            f"{case.name} is a {type(made).__name__} without a length; build a list of prompts"
        ) from error
    require(size >= 1, f"{case.name} is empty; it must hold at least one prompt")
    for index in case.indices:
        try:
            made[index]
        except Exception as error:
            raise ContractError(
                f"{case.name} has length {size}, but item {index} raised {type(error).__name__}: {error}; it must have "
                f"an item at each index from 0 to {size - 1}"
            ) from error
    try:
        beyond = made[size]
    except IndexError:
        return
    except Exception as error:
        raise ContractError(
            f"{case.name} has length {size}, and item {size} raised {type(error).__name__}: {error}; past the end it "
            "must raise IndexError"
        ) from error
    raise ContractError(f"{case.name} has length {size}, and item {size} is {beyond!r}; it must raise IndexError")


def check_iterating_matches_indexing(case: PromptSetCase) -> None:
    """Iterating gives each item once, in the order of its index."""
    size = len(case.built)
    items = list(islice(case.built, FIRST + 1))
    require(
        len(items) == min(size, FIRST + 1),
        f"{case.name} has length {size}, but iterating it gave {len(items)}{'' if len(items) <= FIRST else ' or more'} "
        "items; they must agree: leave out `__iter__`, or give each item once",
    )
    for index, item in enumerate(items[:FIRST]):
        require(
            item == case.built[index],
            f"{case.name} gave {item!r} as item {index} when iterated, but {case.built[index]!r} at index {index}; "
            "they must agree: leave out `__iter__`, or give the items by index",
        )


def check_items_are_prompts(case: PromptSetCase) -> None:
    """Each item is a dagsdk.Prompt with a text."""
    for index in case.indices:
        item = case.built[index]
        require(
            isinstance(item, Prompt),
            f"{case.name}: item {index} is {item!r}; each must be a dagsdk.Prompt: wrap it as Prompt(text)",
        )
        require(
            isinstance(item.text, str),
            f"{case.name}: the text of item {index} is {item.text!r}; it must be a str, and may be empty",
        )


def check_texts_are_utf8(case: PromptSetCase) -> None:
    """Texts can be encoded as UTF-8, for files and text encoders."""
    for index, prompt in case.prompts.items():
        try:
            prompt.text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ContractError(
                f"{case.name}: the text of item {index} is {prompt.text!r}, which does not encode as UTF-8: "
                f'{error.reason}; read its source with encoding="utf-8" and errors="replace"'
            ) from error


def check_metadata_is_plain_json(case: PromptSetCase) -> None:
    """Metadata is plain JSON: it comes back the same from a JSON file, and its numbers are finite."""
    for index, prompt in case.prompts.items():
        metadata = dict(prompt.metadata)
        try:
            again = json.loads(json.dumps(metadata, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ContractError(
                f"{case.name}: the metadata of item {index} is {metadata!r}: {error}; it must be plain JSON: str, "
                "finite numbers, bool, None, and lists and dicts of these"
            ) from error
        require(
            again == metadata,
            f"{case.name}: the metadata of item {index} is {metadata!r}, but {again!r} after being written as JSON and "
            "read back; use lists for tuples, and str for keys",
        )


def check_reading_twice_gives_the_same(case: PromptSetCase) -> None:
    """An index has the same prompt whenever it is read."""
    first = {index: case.built[index] for index in case.indices}
    for index in reversed(case.indices):
        require(
            case.built[index] == first[index],
            f"{case.name}: item {index} was {first[index]!r}, but {case.built[index]!r} when it was read again; a "
            "prompt set never changes: draw what is random in build",
        )


def check_building_twice_gives_the_same(case: PromptSetCase) -> None:
    """Building again gives the same prompts in the same order, so that a run can be resumed."""
    first, second = case.build(), case.build()
    require(
        len(first) == len(second),
        f"{case.name} had {len(first)} prompts, but {len(second)} when it was built again; both must be the same: let "
        "nothing but the options decide",
    )
    for index in case.indices:
        one, other = first[index], second[index]
        require(
            one == other,
            f"{case.name}: item {index} was {one!r}, but {other!r} when the set was built again; a resumed run "
            "continues by index: sort what has no order, and draw from a generator with a seed of its own",
        )


def check_reading_works_offline(case: PromptSetCase) -> None:
    """Reading items needs no network, unless `weights` names what is downloaded."""
    if case.spec.weights:
        raise NotApplicable(f"it downloads {', '.join(case.spec.weights)}")
    made = case.build()
    with offline() as asked:
        try:
            for index in case.indices:
                made[index]
        except Exception:
            if not asked:
                raise
    require(
        not asked,
        f"{case.name}: reading an item tried to connect to {asked[0] if asked else ''}; ship the texts with the "
        "plugin, or name what it downloads in `weights` of its record",
    )


PROMPT_CHECKS = (
    *COMPONENT_CHECKS,
    check_it_is_a_sequence,
    check_iterating_matches_indexing,
    check_items_are_prompts,
    check_texts_are_utf8,
    check_metadata_is_plain_json,
    check_reading_twice_gives_the_same,
    check_building_twice_gives_the_same,
    check_reading_works_offline,
)
