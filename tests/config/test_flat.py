"""Keys of a run file by their own name: put where they belong, or refused with what to write instead."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from dagsdk.config.files import structure_run
from dagsdk.config.flat import structure_with_keys, with_keys
from dagsdk.errors import ConfigError

Tables = dict[str, Any]


def tables() -> Tables:
    return {
        "output": "run",
        "model": {"name": "shapes"},
        "prompts": {"name": "shapes"},
        "rewards": [{"name": "jpeg"}],
        "objective": {"name": "dag-db"},
    }


def put(registry: Any, **keys: Any) -> Tables:
    """What the keys change of the tables."""
    before = tables()
    found, mistakes = with_keys(before, keys, registry)
    assert not mistakes
    assert before == tables()  # those are the caller's
    return {section: value for section, value in found.items() if value != before.get(section)}


def problems(registry: Any, **keys: Any) -> tuple[str, ...]:
    return tuple(with_keys(tables(), keys, registry)[1])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("epochs", 50, {"train": {"epochs": 50}}),
        ("guidance_scale", 3.0, {"rollout": {"guidance_scale": 3.0}}),
        ("rank", 8, {"model": {"name": "shapes", "lora": {"rank": 8}}}),
        ("capacity", 3, {"replay": {"capacity": 3}}),
        ("samples", 9, {"evaluate": {"samples": 9}}),
        ("beta", 10.0, {"objective": {"name": "dag-db", "beta": 10.0}}),  # an option of what the tables name
        ("images_per_prompt", 2, {"rollout": {"images_per_prompt": 2}}),  # and of the default, which they do not
        ("seed", 7, {"seed": 7}),
        ("output", None, {"output": None}),
        ("train", {"epochs": 2}, {"train": {"epochs": 2}}),
        ("objective", {"beta": 3.0}, {"objective": {"name": "dag-db", "beta": 3.0}}),  # merged
        ("rewards", [{"name": "smooth"}], {"rewards": [{"name": "smooth"}]}),
        ("evaluate.every", 5, {"evaluate": {"every": 5}}),
        ("model.lora.rank", 2, {"model": {"name": "shapes", "lora": {"rank": 2}}}),
    ],
)
def test_a_key_is_put_into_its_section(registry: Any, key: str, value: Any, expected: Tables) -> None:
    assert put(registry, **{key: value}) == expected


def test_several_keys_of_a_section_are_put_together(registry: Any) -> None:
    found = put(registry, epochs=3, train={"updates": 4}, learning_rate=1e-3, rank=2, alpha=4.0)
    assert found["train"] == {"updates": 4, "epochs": 3, "learning_rate": 1e-3}
    assert found["model"]["lora"] == {"rank": 2, "alpha": 4.0}


def test_a_section_may_name_the_component_whose_options_the_other_keys_are(registry: Any) -> None:
    """In any order."""
    expected = {"name": "window", "branches": 2}
    assert put(registry, branches=2, rollout={"name": "window"})["rollout"] == expected
    assert put(registry, rollout={"name": "window"}, branches=2)["rollout"] == expected


def test_the_main_sections_come_first(registry: Any) -> None:
    """`trajectories` is a key of [train] and of [replay], `steps` one of [rollout] alone."""
    assert put(registry, trajectories=12, steps=4) == {"train": {"trajectories": 12}, "rollout": {"steps": 4}}


def test_a_key_of_several_sections_is_refused_with_both_ways_to_write_it(registry: Any) -> None:
    [problem] = problems(registry, every=5)
    assert problem == (
        "every: [forward_looking] and [evaluate] and [checkpoint] have a key of this name; write "
        'forward_looking={"every": ...} or evaluate={"every": ...} or checkpoint={"every": ...}'
    )
    for section in ("forward_looking", "evaluate", "checkpoint"):  # what it says works
        assert put(registry, **{section: {"every": 5}}) == {section: {"every": 5}}


def test_a_key_of_nothing_is_refused_with_its_likely_name(registry: Any) -> None:
    assert problems(registry, epoch=5) == ("epoch: no section of a run file has this key; did you mean 'epochs'?",)
    [problem] = problems(registry, xyzzy=5)
    assert problem == "xyzzy: no section of a run file has this key; docs/reference/run-file.md lists all keys"
    assert "'beta'" in problems(registry, bta=5)[0]  # options are known too


def test_every_mistake_is_listed(registry: Any) -> None:
    assert len(problems(registry, epoch=5, every=2, samples=3)) == 2


def test_a_key_that_is_given_twice_is_refused(registry: Any) -> None:
    [problem] = problems(registry, epochs=5, train={"epochs": 6})
    assert problem == "epochs: train is the same key; give one of them"
    assert problems(registry, **{"train.epochs": 6}, epochs=5)


def test_a_dotted_key_into_a_list_is_refused(registry: Any) -> None:
    [problem] = problems(registry, **{"rewards.name": "smooth"})
    assert problem == "rewards.name: rewards is list, and has no key 'name'; give rewards as a whole"


def test_a_component_that_nothing_provides_is_reported_when_the_run_is_structured(registry: Any) -> None:
    found, _ = with_keys(tables(), {"objective": {"name": "dag"}, "epochs": 2}, registry)
    assert found["objective"]["name"] == "dag"
    with pytest.raises(ConfigError, match="dag"):
        structure_run(found, registry, source="align")


def test_what_was_put_is_structured_like_a_run_file(registry: Any) -> None:
    found, _ = with_keys(deepcopy(tables()), {"epochs": 3, "beta": 2.0, "rank": 8}, registry)
    run = structure_run(found, registry, source="align")
    assert (run.train.epochs, run.objective.options.beta, run.model.lora.rank) == (3, 2.0, 8)
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        structure_with_keys(tables(), {"epochs": "three"}, registry, source="align")
