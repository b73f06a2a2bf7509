"""Objects of a program as components: which tables name them, and that a run gets these very objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import tiny_pipeline

import dagsdk
from dagsdk.errors import ConfigError, ModelError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.prompts.protocol import Prompt
from dagsdk.run.given import Given
from dagsdk.specs import BuildContext, NoOptions


def made(given: Given, kind: str, name: str) -> Any:
    """The component of this name, as a run builds it."""
    return given.registry().get(kind, name).make(NoOptions(), BuildContext())


def brightness(images: torch.Tensor, texts: Sequence[str]) -> list[float]:
    return images.mean((1, 2, 3)).tolist()


# --- models ---


def test_a_model_by_name_folder_or_table_is_that(tmp_path: Path) -> None:
    given = Given()
    assert given.model("vector") == {"name": "vector"}
    assert given.model(tmp_path) == {"name": str(tmp_path)}
    assert given.model({"name": "vector", "width": 16}) == {"name": "vector", "width": 16}
    assert given.names == []


def test_a_live_pipeline_is_wrapped_and_not_copied(tmp_path: Path) -> None:
    given, pipeline = Given(), tiny_pipeline(tmp_path)
    table = given.model(pipeline)
    assert table == {"name": "given-pipeline"}
    model = made(given, "models", table["name"])
    assert isinstance(model, StableDiffusion) and model.pipeline is pipeline


def test_an_object_with_the_protocol_is_used_as_it_is(tmp_path: Path) -> None:
    given, model = Given(), StableDiffusion(tiny_pipeline(tmp_path))
    assert made(given, "models", given.model(model)["name"]) is model


def test_what_is_no_model_is_refused_when_it_is_built() -> None:
    given = Given()
    name = given.model(SimpleNamespace())["name"]
    with pytest.raises(ModelError, match="SimpleNamespace"):
        made(given, "models", name)


# --- prompts ---


def test_prompts_by_name_or_table_are_those() -> None:
    given = Given()
    assert given.prompts("texts") == {"name": "texts"}
    assert given.prompts({"name": "texts", "texts": ["a"]}) == {"name": "texts", "texts": ["a"]}
    several = [{"name": "texts", "weight": 2.0}, {"name": "texts"}]
    assert given.prompts(several) == several


def test_plain_texts_are_written_into_the_table_which_a_run_folder_can_hold() -> None:
    given = Given()
    assert given.prompts(["a cat", Prompt("b")]) == {"name": "texts", "texts": ["a cat", "b"]}
    assert given.names == []


def test_prompts_with_metadata_are_given_with_it() -> None:
    given, item = Given(), Prompt("a cat", {"answer": 3})
    name = given.prompts([item, "b"])["name"]
    prompts = made(given, "prompts", name)
    assert list(prompts) == [item, Prompt("b")] and prompts[0] is item and prompts[-1] == Prompt("b")
    assert list(prompts[:1]) == [item] and len(prompts) == 2
    other = given.prompts([Prompt("c", {"answer": 1})], "given-held-out")["name"]
    assert (name, other) == ("given-prompts", "given-held-out")
    assert given.names == ["prompts/given-prompts", "prompts/given-held-out"]


class Lazy:
    """Prompts of a database, say: an item costs something."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> str:
        self.asked.append(index)
        return f"prompt {index}"


def test_items_of_another_sequence_are_looked_at_when_they_are_needed() -> None:
    given, lazy = Given(), Lazy()
    prompts = made(given, "prompts", given.prompts(lazy)["name"])
    assert len(prompts) == 10**6 and lazy.asked == []
    assert prompts[5] == Prompt("prompt 5") and prompts[-1] == Prompt("prompt 999999")
    assert lazy.asked == [5, 999999]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "there are none; give at least one text"),
        ((text for text in "ab"), "generator is no sequence; give a list of texts"),
        (3, "int is no sequence"),
        (["a", 3], r"prompts\[1\]: 3 is neither a text nor a prompt"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused_at_once(prompts: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Given().prompts(prompts)


# --- rewards ---


def test_rewards_in_every_form_that_may_be_given() -> None:
    given = Given()
    assert given.rewards("clip-score") == [{"name": "clip-score"}]
    assert given.rewards({"name": "clip-score", "weight": 2.0}) == [{"name": "clip-score", "weight": 2.0}]
    assert given.rewards(brightness) == [{"name": "brightness"}]
    assert given.rewards(["clip-score", {"name": "a"}]) == [{"name": "clip-score"}, {"name": "a"}]
    weighted = given.rewards({"clip-score": 1, lambda images, texts: 0.0: -0.5})
    assert weighted == [{"name": "clip-score", "weight": 1}, {"name": "reward", "weight": -0.5}]


class BrightAndCAREFUL:
    def __call__(self, images: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
        return images.mean((1, 2, 3))


def test_functions_are_called_by_their_name_in_a_run_file() -> None:
    given = Given()

    def _Near_red2(images: Any, texts: Any) -> float:
        return 0.0

    functions = [_Near_red2, BrightAndCAREFUL(), partial(brightness), brightness, lambda images, texts: 0.0]
    found = [table["name"] for table in given.rewards(functions)]
    assert found == ["near-red2", "bright-and-careful", "brightness", "brightness-2", "reward"]
    assert given.names == [f"rewards/{name}" for name in found]


def test_a_name_that_is_installed_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "local.py"
    file.write_text(
        "from dagsdk import RewardSpec, hookimpl\n\n\n@hookimpl\ndef dagsdk_rewards():\n"
        '    yield RewardSpec(name="brightness", summary="s", build=lambda options: None)\n'
    )
    given = Given(files=[file])
    assert given.rewards(["brightness", brightness]) == [{"name": "brightness"}, {"name": "brightness-2"}]
    assert made(given, "rewards", "brightness") is None  # that of the file


def test_a_function_is_called_with_images_and_texts_and_may_return_a_list() -> None:
    given = Given()
    reward = made(given, "rewards", given.rewards(brightness)[0]["name"])
    images = torch.rand(3, 3, 4, 4)
    found = reward(images, [Prompt(text) for text in "abc"])
    torch.testing.assert_close(found, images.mean((1, 2, 3)))


def test_its_marks_are_on_its_record() -> None:
    given = Given()
    plain, marked = given.rewards([brightness, dagsdk.reward(differentiable=True)(BrightAndCAREFUL())])
    registry = given.registry()
    assert not registry.get("rewards", plain["name"]).differentiable
    assert registry.get("rewards", marked["name"]).differentiable


def test_what_is_no_reward_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"reward: int 3 is no function; give a function of \(images, prompts\)"):
        Given().rewards([brightness, 3])


# --- the registry ---


def test_given_components_are_next_to_the_installed_ones() -> None:
    given = Given()
    given.rewards(brightness)
    registry = given.registry()
    assert registry.provider("rewards", "brightness").name == "program"
    assert {"dag-db", "dag-kl"} <= set(registry.names("objectives"))


def test_what_another_program_gave_can_be_named_but_not_used() -> None:
    """So that a run folder can be read, and its model sampled, without the program's rewards."""
    given = Given()
    given.rewards(brightness)
    registry = given.registry(missing=["rewards/brightness", "rewards/redness", "prompts/given-prompts"])
    assert made(given, "rewards", "brightness")(torch.zeros(1, 3, 2, 2), [Prompt("a")]).tolist() == [0.0]
    stand_in = registry.get("rewards", "redness").make(NoOptions(), BuildContext())
    with pytest.raises(ConfigError, match=r"'redness' was an object of the program.*dagsdk\.align .*resume=True"):
        stand_in(torch.zeros(1, 3, 2, 2), [Prompt("a")])
    with pytest.raises(ConfigError, match=r"'given-prompts' .*resume=True"):
        registry.get("prompts", "given-prompts").make(NoOptions(), BuildContext())
