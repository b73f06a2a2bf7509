"""What may stand for a reward: functions of tensors and of PIL images, names, lists, mappings; and what may not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from embedded import align, brightness, live, metrics
from PIL import Image
from torch import Tensor

import dagsdk
from dagsdk import Prompt
from dagsdk.errors import ConfigError, RewardError
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.plain import PlainReward

IMAGES = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
TEXTS = (Prompt("a cat"), Prompt("a newt", {"legs": 4}))


def given(function: Callable[..., Any], count: int = 2) -> Tensor:
    """What the engine makes of a function's answer for `count` images."""
    return RewardMixture([("mine", 1.0, PlainReward(function, "mine"))])(IMAGES[:count], TEXTS[:count])


# --- what the function is given ---


def by_annotation(images: list[Image.Image], prompts: list[str]) -> list[int]:
    assert all(isinstance(image, Image.Image) and image.size == (4, 4) for image in images)
    return [image.getpixel((0, 0))[0] for image in images]


def as_a_text(images: "Sequence[Image.Image]", prompts: "NoSuchName") -> list[int]:  # type: ignore[name-defined]  # noqa
    return by_annotation(list(images), prompts)


class Caller:
    def __call__(self, images: list[Image.Image], prompts: Any = ()) -> list[int]:
        return by_annotation(images, prompts)

    def method(self, images: Any, prompts: Any) -> list[int]:
        return by_annotation(images, prompts)


@dagsdk.reward(takes="pil")
def marked(images: Any, prompts: Any) -> list[int]:
    return by_annotation(images, prompts)


@pytest.mark.parametrize(
    "function",
    [
        by_annotation,
        as_a_text,
        Caller(),
        marked,
        functools.partial(by_annotation),
        functools.partial(marked),
        dagsdk.reward(takes="pil")(Caller().method),
        dagsdk.reward(lambda images, prompts: by_annotation(images, prompts), takes="pil"),
    ],
)
def test_pil_images_by_annotation_or_by_mark(function: Callable[..., Any]) -> None:
    assert given(function).tolist() == [0, 129]


def test_tensors_and_texts_otherwise() -> None:
    def plain(images, prompts):  # type: ignore[no-untyped-def]
        assert isinstance(images, Tensor) and images.shape == (2, 3, 4, 4) and prompts == ["a cat", "a newt"]
        return images.mean((1, 2, 3))

    def typed(images: Tensor, prompts: Sequence[Prompt]) -> list[int]:
        assert isinstance(images, Tensor)
        return [len(prompt.metadata) for prompt in prompts]

    assert torch.equal(given(plain), IMAGES.mean((1, 2, 3)))
    assert given(typed).tolist() == [0, 1]
    assert given(dagsdk.reward(prompts="prompt")(lambda images, prompts: [len(p.metadata) for p in prompts])).sum() == 1


def test_a_function_that_changes_its_images_changes_its_own() -> None:
    before = IMAGES.clone()
    given(lambda images, prompts: images.mul_(255).mean((1, 2, 3)))
    assert torch.equal(IMAGES, before)


@pytest.mark.parametrize(
    ("marks", "named"),
    [
        ({"takes": "PIL"}, "PIL"),
        ({"takes": "pil", "differentiable": True}, "no gradient"),
        ({"prompts": "texts"}, "texts"),
        ({"take": "pil"}, "take"),
    ],
)
def test_a_mark_that_means_nothing_is_refused_where_it_is_made(marks: dict[str, Any], named: str) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        dagsdk.reward(**marks)


def test_a_gradient_flows_through_a_function_that_is_marked_differentiable() -> None:
    smooth = dagsdk.reward(differentiable=True)(lambda images, prompts: images.square().mean((1, 2, 3)))
    run = align(live(), smooth, objective="nabla-db", flow_gradient={"widths": [8, 8]}, state_flow={}, epochs=1)
    assert run.finish().epoch == 1
    with pytest.raises(ConfigError, match="differentiable"):
        align(live(), brightness, objective="nabla-db")


# --- what it may return ---


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2],
        (1.0, 2.0),
        [True, 2],
        np.array([1, 2]),
        np.array([1.0, 2.0], dtype=np.float64),
        [np.float32(1), np.float64(2)],
        torch.tensor([1, 2]),
        torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        [torch.tensor(1.0), torch.tensor(2)],
        [torch.tensor(1.0), 2],
    ],
)
def test_numbers_in_any_form_are_accepted(answer: Any) -> None:
    found = given(lambda images, prompts: answer)
    assert found.dtype == torch.float32 and found.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("answer", [3, 3.0, np.float64(3), torch.tensor(3.0), [3], np.array(3)])
def test_a_number_will_do_for_one_image(answer: Any) -> None:
    assert given(lambda images, prompts: answer, count=1).tolist() == [3.0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "NoneType None"),
        ("high", "str 'high'"),
        (["high", "low"], "list"),
        ({"a cat": 1, "a newt": 2}, "dict"),
        ([1, None], r"list \[1, None\]"),
        (iter([1, 2]), "list_iterator"),
        (3.0, r"shape \(\) for 2 images"),
        ([1.0], r"shape \(1,\) for 2 images"),
        ([1, 2, 3], r"shape \(3,\) for 2 images"),
        ([[1.0], [2.0]], r"shape \(2, 1\) for 2 images"),
        ([[1.0], [2.0, 3.0]], "list"),
        ([torch.ones(1), torch.ones(1)], r"shape \(2, 1\)"),
        ([torch.ones(1), torch.ones(2)], "list"),
        (torch.ones(2, 2), r"shape \(2, 2\)"),
        (np.array(["a", "b"]), "ndarray"),
        ([1.0, float("nan")], "nan for image 1"),
        ([float("inf"), 1.0], "inf for image 0"),
        (torch.tensor([1j, 2j]), "complex"),
    ],
)
def test_anything_else_is_one_error_that_names_the_function(answer: Any, said: str) -> None:
    with pytest.raises(RewardError, match=said) as caught:
        given(lambda images, prompts: answer)
    assert str(caught.value).startswith("reward 'mine'") and "\n" not in str(caught.value)


@pytest.mark.parametrize("raised", [ValueError("bad"), SystemExit(1)])
def test_what_a_function_raises_is_the_cause(raised: BaseException) -> None:
    def fails(images: Tensor, prompts: list[str]) -> Tensor:
        raise raised

    with pytest.raises(RewardError, match=f"reward 'fails' raised {type(raised).__name__}") as caught:
        align(live(), fails).finish()
    assert caught.value.__cause__ is raised


def test_a_function_of_one_argument_is_refused_by_name() -> None:
    with pytest.raises(RewardError, match=r"reward 'one-argument' raised TypeError.*2 were given"):
        align(live(), one_argument).finish()


def one_argument(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3))


# --- how it is given ---


def test_names_functions_lists_and_weights() -> None:
    def darkness(images: Tensor, prompts: list[str]) -> Tensor:
        return -brightness(images, prompts)

    alone = align(live(), epochs=1).finish()
    for reward in ([brightness], {brightness: 1.0}, {brightness: 1}, {"name": "jpeg-compressibility", "weight": 0.5}):
        run = align(live(), reward, epochs=1)
        assert len(run.config.rewards) == 1
        if "name" not in reward:
            assert metrics(run.finish()) == metrics(alone)
    both = align(live(), {brightness: 1.0, darkness: 0.5, "jpeg-compressibility": 0.0}, epochs=1).finish()
    assert [(r.name, r.weight) for r in both.config.rewards] == [
        ("brightness", 1.0),
        ("darkness", 0.5),
        ("jpeg-compressibility", 0.0),
    ]
    line = both.history[0]
    assert line["reward/darkness/mean"] == pytest.approx(-line["reward/brightness/mean"])
    assert "reward/jpeg-compressibility/mean" in line


@pytest.mark.parametrize(
    ("reward", "name"),
    [
        (lambda images, prompts: [1.0] * len(images), "reward"),
        (Caller(), "caller"),
        (functools.partial(brightness), "brightness"),
        (dagsdk.reward()(Caller().method), "method"),
        ("jpeg-compressibility", "jpeg-compressibility"),
    ],
)
def test_a_function_has_a_name_in_the_metrics(reward: Any, name: str) -> None:
    assert [r.name for r in align(live(), reward).config.rewards] == [name]


def test_two_functions_may_have_one_name() -> None:
    run = align(live(), [lambda images, prompts: images.mean((1, 2, 3)), lambda images, prompts: [1.0] * len(images)])
    assert [r.name for r in run.config.rewards] == ["reward", "reward-2"]


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (3, "reward: int 3 is no function"),
        (None, "reward: NoneType None is no function"),
        ([], "rewards"),
        ({}, "rewards"),
        ({brightness: "high"}, r"rewards\[0\].weight: 'high' is a string"),
        ({brightness: float("nan")}, "weight"),
        ("jpeg", "did you mean 'jpeg-compressibility'"),
        ([brightness, 3], "reward: int 3 is no function"),
    ],
)
def test_what_is_no_reward_is_refused_with_a_next_step(reward: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        align(live(), reward)
