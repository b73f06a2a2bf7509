"""Each rule of the contract of prompt sets is caught by its own check only, in a set that breaks just it."""

from __future__ import annotations

import contextlib
import itertools
import socket
from typing import Any

import pytest

from dagsdk import Prompt, PromptSpec
from dagsdk.builtin import dagsdk_prompts
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.component_checks import COMPONENT_CHECKS
from dagsdk.testing.prompt_checks import FIRST, PROMPT_CHECKS, PromptSetCase

ANIMALS = tuple(Prompt(f"a {name}", {"name": name, "legs": 4}) for name in ("cat", "newt", "dog", "bear"))


def spec(build: Any = lambda options, context: ANIMALS, **changes: Any) -> PromptSpec[Any]:
    return PromptSpec(name="tried", summary="Tried", build=build, **changes)


def holding(*prompts: Any) -> PromptSpec[Any]:
    return spec(lambda options, context: prompts)


def failing(tried: PromptSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(PROMPT_CHECKS, PromptSetCase(spec=tried, **case), {}, strict=True)
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


class Animals:
    """A set that is no tuple."""

    def __len__(self):
        return len(ANIMALS)

    def __getitem__(self, index):
        return ANIMALS[index]


class Endless(Animals):
    """Starts again at its end, and so is never iterated to one."""

    def __getitem__(self, index):
        return ANIMALS[index % len(ANIMALS)]

    def __iter__(self):
        return iter(ANIMALS)


class Short(Animals):
    """Forgets the last when iterated."""

    def __iter__(self):
        return iter(ANIMALS[:-1])


class Backwards(Animals):
    def __iter__(self):
        return reversed(ANIMALS)


class Augmented(Animals):
    """Draws a new wording each time."""

    def __init__(self):
        self.drawn = itertools.count()

    def __getitem__(self, index):
        return Prompt(f"{ANIMALS[index].text}, version {next(self.drawn)}")


class Unordered:
    """Comes in another order each time it is built."""

    def __init__(self):
        self.builds = itertools.count()

    def __call__(self, options, context):
        first = next(self.builds) % len(ANIMALS)
        return ANIMALS[first:] + ANIMALS[:first]


class Remote(Animals):
    """Asks a server for each item."""

    def __getitem__(self, index):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=1).close()
        return ANIMALS[index]


class Many(Animals):
    """More than are checked one by one; one of the later ones is wrong."""

    wrong = -1

    def __len__(self):
        return 20 * FIRST

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return "no prompt" if index == self.wrong else Prompt(str(index))


class ManyButTheLast(Many):
    wrong = 20 * FIRST - 1


BROKEN: list[tuple[str, PromptSpec[Any], str]] = [
    ("it_is_a_sequence", spec(lambda o, c: Endless()), "has length 4, and item 4 is Prompt(text='a cat'"),
    ("iterating_matches_indexing", spec(lambda o, c: Short()), "has length 4, but iterating it gave 3 items"),
    ("iterating_matches_indexing", spec(lambda o, c: Backwards()), "as item 0 when iterated"),
    ("items_are_prompts", holding(*ANIMALS, "a horse"), "item 4 is 'a horse'; each must be a dagsdk.Prompt"),
    ("items_are_prompts", holding(Prompt(b"a horse")), "the text of item 0 is b'a horse'"),
    ("items_are_prompts", spec(lambda o, c: ManyButTheLast()), "item 19999 is 'no prompt'"),
    ("texts_are_utf8", holding(Prompt("a \ud83d cat")), "does not encode as UTF-8"),
    ("metadata_is_plain_json", holding(Prompt("a", {"at": (1, 2)})), "use lists for tuples"),
    ("metadata_is_plain_json", holding(Prompt("a", {1: "one"})), "str for keys"),
    ("metadata_is_plain_json", holding(Prompt("a", {"size": float("inf")})), "Out of range float"),
    ("metadata_is_plain_json", holding(Prompt("a", {"names": {"cat"}})), "it must be plain JSON"),
    ("reading_twice_gives_the_same", spec(lambda o, c: Augmented()), "draw what is random in build"),
    ("building_twice_gives_the_same", spec(Unordered()), "sort what has no order"),
    ("reading_works_offline", spec(lambda o, c: Remote()), "tried to connect to 127.0.0.1"),
]
# What changes from one reading to the next also changes while it is iterated.
ALSO = {"reading_twice_gives_the_same": {"iterating_matches_indexing"}}


@pytest.mark.parametrize(
    "prompts",
    [ANIMALS, list(ANIMALS), Animals(), Many(), (Prompt(""),), (Prompt("北京 ✨", {"a": [1, {"b": None}]}),)],
    ids=["tuple", "list", "no list", "many", "empty text", "nested"],
)
def test_a_sound_prompt_set_passes(prompts: Any) -> None:
    assert not failing(spec(lambda options, context: prompts))


@pytest.mark.parametrize(("name", "tried", "message"), BROKEN)
def test_a_broken_prompt_set_fails_the_check_of_its_rule_only(name: str, tried: PromptSpec[Any], message: str) -> None:
    found = failing(tried)
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


@pytest.mark.parametrize(
    ("made", "message"), [((), "is empty"), (iter(ANIMALS), "without a length"), ({"a": 1}, "item 0 raised KeyError")]
)
def test_what_is_no_sequence_is_named(made: Any, message: str) -> None:
    assert message in failing(spec(lambda options, context: made))["it_is_a_sequence"]


def test_a_set_that_declares_what_it_downloads_may_download_it() -> None:
    assert not failing(spec(lambda options, context: Remote(), weights=("example/prompts",)))


def test_what_the_core_ships_passes() -> None:
    (texts,) = dagsdk_prompts()
    assert not failing(texts, options={"texts": ["a cat", "", "北京 ✨"]})


def test_every_check_is_tested() -> None:
    # Those of all components are tested in test_reward_checks.py.
    assert set(COMPONENT_CHECKS) <= set(PROMPT_CHECKS)
    assert {name_of(check) for check in PROMPT_CHECKS if check not in COMPONENT_CHECKS} == {name for name, *_ in BROKEN}
