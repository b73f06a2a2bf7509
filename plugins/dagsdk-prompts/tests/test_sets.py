"""Sets that come with the plugin: how many, which, and how they are split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dagsdk_prompts
from dagsdk import BuildContext, Prompt
from dagsdk.config.components import structure_options
from dagsdk.errors import ConfigError
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.words import ACTIVITIES, ANIMALS, COLOURS, FRUITS, PAIRS, RELATIONS, UNSEEN_RELATIONS, VEGETABLES

SPECS = {spec.name: spec for spec in dagsdk_prompts.dagsdk_prompts()}


def built(name: str, **options: Any) -> Any:
    return SPECS[name].make(structure_options(SPECS[name].options, options, name), BuildContext())


def texts(name: str, **options: Any) -> list[str]:
    return [prompt.text for prompt in built(name, **options)]


def answers(prompt: Prompt) -> dict[str, str]:
    return {each["question"]: each["answer"] for each in prompt.metadata["questions"]}


SIZES = [
    ("animals", {}, 45),
    ("animal-activities", {}, 135),
    ("counting", {}, 360),
    ("counting", {"low": 1, "high": 3, "animals": 2}, 990 * 9),
    ("imagenet", {}, 1000),
    ("imagenet-animals", {}, 398),
    ("imagenet-dogs", {}, 118),
    ("b2-activities", {"split": "train"}, 45),
    ("b2-activities", {"split": "test"}, 90),
    ("b2-colours", {"split": "train"}, 40),
    ("b2-colours", {"split": "test"}, 40),
    ("b2-relations", {"split": "train"}, 40),
    ("b2-relations", {"split": "test"}, 30),
]


@pytest.mark.parametrize(("name", "options", "size"), SIZES)
def test_sizes_are_the_stated_ones_and_nothing_comes_twice(name: str, options: dict[str, Any], size: int) -> None:
    found = texts(name, **options)
    assert len(found) == size
    if name != "imagenet":  # two pairs of classes share a name
        assert len(set(found)) == size


@pytest.mark.parametrize("name", ["b2-activities", "b2-colours", "b2-relations"])
def test_train_and_test_have_nothing_in_common_and_make_up_all(name: str) -> None:
    train, test = texts(name, split="train"), texts(name, split="test")
    assert not set(train) & set(test)
    assert texts(name, split="all") == train + test


def test_animals_are_in_the_papers_order() -> None:
    found = texts("animals")
    assert [found[i] for i in (0, 14, 15, 29, 30, 44)] == ["cat", "bear", "raccoon", "snake", "turtle", "kangaroo"]
    assert found == list(ANIMALS)
    assert texts("animals", template="a photo of a {animal}")[1] == "a photo of a dog"


def test_activities_are_written_and_asked_for_with_the_right_article() -> None:
    found = {prompt.text: prompt for prompt in built("animal-activities")}
    assert {"a cat washing dishes", "an ant riding a bike", "a zebra playing chess"} <= set(found)
    assert answers(found["an ant riding a bike"]) == {
        "Is there an ant in this image?": "yes",
        "Is the ant riding a bike?": "yes",
    }


@pytest.mark.parametrize(
    ("animal", "plural"),
    [("mouse", "mice"), ("goose", "geese"), ("wolf", "wolves"), ("fly", "flies"), ("sheep", "sheep"), ("fox", "foxes"),
     ("deer", "deer"), ("fish", "fish"), ("monkey", "monkeys"), ("butterfly", "butterflies")],
)  # fmt: skip
def test_counted_animals_are_in_the_plural_and_asked_for(animal: str, plural: str) -> None:
    found = {prompt.text: prompt for prompt in built("counting", low=1, high=12)}
    assert answers(found[f"one {animal}"]) == {f"How many {plural} are there in this image?": "1"}
    assert answers(found[f"twelve {plural}"]) == {f"How many {plural} are there in this image?": "12"}


def test_every_pair_of_animals_comes_in_every_pair_of_numbers() -> None:
    found = built("counting", low=2, high=3, animals=2)
    assert [sum(word in prompt.text.split() for prompt in found) for word in ("cats", "kangaroos")] == [44 * 4] * 2
    prompt = next(prompt for prompt in found if prompt.text == "three cats and two mice")
    assert list(answers(prompt).values()) == ["3", "2"]
    assert found[-1] == found[len(found) - 1] and list(found[2:4]) == [found[2], found[3]]


def test_imagenet_subsets_are_those_of_the_class_indices() -> None:
    everything = built("imagenet")
    assert built("imagenet-animals") == everything[:398]
    assert built("imagenet-dogs") == everything[151:269]
    assert everything[151].text == "Chihuahua" and everything[397].text == "pufferfish"
    assert everything[700].metadata == {"class": 700}
    assert texts("imagenet-dogs", template="a photo of a {name}")[0] == "a photo of a Chihuahua"


def test_b2_trains_each_third_of_the_animals_on_one_activity() -> None:
    rule = [f"a {animal} {ACTIVITIES[place // 15]}" for place, animal in enumerate(ANIMALS)]
    assert texts("b2-activities") == rule
    every = {f"a {animal} {activity}" for animal in ANIMALS for activity in ACTIVITIES}
    assert set(texts("b2-activities", split="test")) == every - set(rule)
    assert "a ant playing chess" in every  # always "a"


def test_b2_colours_tests_seen_fruits_in_unseen_colours_and_unseen_vegetables() -> None:
    assert len(FRUITS) == len(VEGETABLES) == 20 and not set(FRUITS) & set(VEGETABLES)
    train = [text.split(" ", 1) for text in texts("b2-colours")]
    assert sorted(fruit for _, fruit in train) == sorted([*FRUITS] * 2)
    test = [text.split(" ", 1) for text in texts("b2-colours", split="test")]
    assert [thing for _, thing in test] == [*FRUITS, *VEGETABLES]
    assert {colour for colour, _ in train + test} <= set(COLOURS)


def test_b2_relations_tests_new_pairs_and_new_relations() -> None:
    def parts(text: str) -> tuple[str, str, str]:
        thing, *relation, other = text.split()
        return thing, " ".join(relation), other

    train = [parts(text) for text in texts("b2-relations")]
    test = [parts(text) for text in texts("b2-relations", split="test")]
    assert {relation for _, relation, _ in train} == set(RELATIONS)
    assert {(thing, other) for thing, _, other in train} == set(PAIRS)
    for thing, relation, other in test:
        assert relation in UNSEEN_RELATIONS or (relation in RELATIONS and (thing, other) not in PAIRS)


@pytest.mark.parametrize("name", ["b2-colours", "b2-relations"])
def test_a_published_list_takes_the_place_of_our_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(["grey stone", "ünusual stone"]), encoding="utf-8")
    assert texts(name, file=str(path)) == ["grey stone", "ünusual stone"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'["a",', r"list.json: is not JSON: .*line 1"),
        (b'{"a": 1}', "holds a dict; it must hold one list of strings"),
        (b"[]", "the list is empty"),
        (b'["a", " "]', "entry 2 is ' '"),
        (b'["a", 1]', "entry 2 is 1"),
        (b'["a",\n"\xff"]', "list.json, line 2: byte 2 is 0xff"),
    ],
)
def test_a_list_that_is_none_is_one_clear_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(content)
    with pytest.raises(PromptsError, match=says):
        built("b2-colours", file=str(path))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("animals", {"template": "a photo"}, "{animal}"),
        ("imagenet", {"template": "{animal}"}, "{name}"),
        ("counting", {"low": 5, "high": 4}, "high must be >= low"),
        ("counting", {"low": 0}, "low"),
        ("counting", {"animals": 3}, "animals"),
        ("b2-activities", {"split": "held-out"}, "split"),
        ("hpdv2", {"styles": ["photos"]}, "styles"),
        ("hpdv2", {"styles": []}, "styles"),
        ("file", {}, "path"),
        ("file", {"path": "a.txt", "limit": 0}, "limit"),
        ("file", {"path": "a.txt", "blank": "keep"}, "blank"),
        ("hub", {"text_column": "text"}, "dataset"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=says):
        built(name, **options)
