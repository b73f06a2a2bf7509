"""Models, prompts and keys as a program gives them, and the errors for those that cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from embedded import PROMPTS, align, brightness, live, metrics
from sound_model import OPTIONS, Sound

import dagsdk
from dagsdk import Prompt
from dagsdk.errors import ConfigError, ModelError


class Slow(Sequence[str]):
    """Any sequence will do; this one knows which items were asked for, and the last is wrong."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.asked: set[int] = set()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> Any:
        self.asked.add(index)
        return PROMPTS[index % 2] if index < self.length - 1 else 5


class Dataset:
    """Not even a `collections.abc.Sequence`."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> str:
        return PROMPTS[index % 2]


# --- prompts ---


@pytest.mark.parametrize(
    "prompts",
    [
        [Prompt(text) for text in PROMPTS],
        tuple(PROMPTS),
        [Prompt(PROMPTS[0], {"a": 1}), PROMPTS[1]],
        np.array(PROMPTS),
        Dataset(),
        {"name": "texts", "texts": PROMPTS},
        [{"name": "texts", "texts": PROMPTS}],
    ],
    ids=lambda prompts: type(prompts).__name__,
)
def test_prompts_in_any_form_give_the_same_run(prompts: Any) -> None:
    expected = align(live(), epochs=1).finish()
    assert metrics(align(live(), prompts=prompts, epochs=1).finish()) == metrics(expected)


def test_a_registered_set_by_name() -> None:
    run = align(live(), prompts="shapes", epochs=1)
    event = next(event for event in run.events() if isinstance(event, dagsdk.ImagesEvent))
    assert all(isinstance(text, str) and text for text in event.prompts)


def test_of_a_long_sequence_only_the_beginning_is_read_before_it_is_needed() -> None:
    prompts = Slow(10**6)
    run = align(live(), prompts=prompts)
    assert prompts.asked == set(range(1000))
    run.finish()
    assert 1000 < len(prompts.asked) <= 1000 + 2 * 4


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "prompts: there are none; give at least one text"),
        (["a cat", 5], r"prompts\[1\]: 5 is neither a text nor a prompt"),
        (["a cat", None], r"prompts\[1\]: None"),
        ((text for text in PROMPTS), "prompts: generator is no sequence; give a list"),
        ({"a cat", "a newt"}, "prompts: set is no sequence"),
        (7, "prompts: int is no sequence"),
        ("a cat", "prompts.*'a cat'"),
        ("", "prompts"),
        ("shapes-heldout", "did you mean 'shapes-held-out'"),
        ({"texts": PROMPTS}, "prompts.name: missing"),
    ],
)
def test_what_are_no_prompts_are_refused_with_a_next_step(prompts: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        align(live(), prompts=prompts)
    with pytest.raises(ConfigError):
        align(live(), held_out=prompts)


def test_a_wrong_item_is_named_when_it_is_needed() -> None:
    with pytest.raises(ConfigError, match=r"prompts\[9\]: 5 is neither"):
        align(live(), prompts=Slow(10))
    run = align(live(), held_out=Slow(10), samples=10)
    with pytest.raises(ConfigError, match=r"prompts\[9\]: 5 is neither"):
        run.finish()
    with pytest.raises(ConfigError, match=r"sample: 1 problem\n  prompts\[1\]: None"):
        align(live()).sample(["a cat", None])  # type: ignore[list-item]


# --- keys ---


def test_a_key_by_its_name_in_its_section_or_with_its_path() -> None:
    keys: list[dict[str, Any]] = [
        {"steps": 5},
        {"rollout": {"steps": 5, "guidance_scale": 2.0}},
        {"rollout.steps": 5},
    ]
    runs = [align(live(), **{"rollout": {"guidance_scale": 2.0}, **choice}) for choice in keys]
    assert all(run.config == runs[0].config and run.config.rollout.steps == 5 for run in runs)
    ranks: list[dict[str, Any]] = [{"rank": 3}, {"lora": {"rank": 3}}, {"model.lora.rank": 3}]
    for choice in ranks:
        run = dagsdk.align(live(), prompts=PROMPTS, reward=brightness, **choice)
        assert run.config.model.lora.rank == 3


def test_options_of_a_component_are_keys_too() -> None:
    run = align(live(), objective={"name": "dag-kl", "beta": 3.0}, beta_warmup=0.25, rollout={"images_per_prompt": 2})
    assert run.config.objective.options.beta_warmup == 0.25 and run.config.rollout.options.images_per_prompt == 2
    assert align(live(), seed=7).config.seed == 7 and align(live(), **{"evaluate.seed": 7}).config.evaluate.seed == 7


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"epohcs": 5}, "epohcs: no section of a run file has this key; did you mean 'epochs'"),
        ({"qwertz": 5}, "qwertz: no section.*docs/reference/run-file.md"),
        ({"every": 5}, r"every: \[forward_looking\] and \[evaluate\] and \[checkpoint\].*write .*evaluate=\{\"every\""),
        ({"widths": [8]}, r"widths: \[state_flow\] and \[flow_gradient\] have"),
        ({"epochs": 0}, r"train.epochs: 0 is too small; it must be >= 1"),
        ({"epochs": "five"}, r"train.epochs: 'five' is a string; it must be an integer"),
        ({"train": {"epohcs": 5}}, r"train.epohcs: unknown key; did you mean 'epochs'"),
        ({"train.epohcs": 5}, r"train.epohcs: unknown key; did you mean 'epochs'"),
        ({"trian.epochs": 5}, r"trian: unknown key; did you mean 'train'"),
        ({"epochs": 5, "train": {"epochs": 6}}, "epochs: train is the same key; give one of them"),
        ({"objective": "dag-bd"}, "objective.name: No objective is called 'dag-bd'; did you mean 'dag-db'"),
        ({"objective": {"beta": 3}}, "objective.name: missing"),
        ({"train": 5}, "train: 5 is an integer; it must be a table"),
        ({"rewards": []}, "rewards: align takes one or several rewards as reward"),
        ({"rewards.0.weight": 2.0}, "rewards.0.weight: rewards is list.*give rewards as a whole"),
        ({"mixed_precision": "fp32"}, "train.mixed_precision: 'fp32' is not one of"),
        ({"plugins": ["./nowhere.py"]}, "nowhere.py"),
    ],
)
def test_a_wrong_key_is_named_with_its_value_the_rule_and_a_next_step(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(dagsdk.DagsdkError, match=said):
        dagsdk.align(live(), prompts=PROMPTS, reward=brightness, **keys)


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        dagsdk.align(live(), prompts=PROMPTS, reward=brightness, epochs=0, steps=0, objective="no")
    assert len(caught.value.problems) == 3 and caught.value.source == "align"


# --- models ---


def test_an_object_with_the_protocol_is_a_model() -> None:
    model = Sound.build(OPTIONS, dagsdk.BuildContext())
    run = align(model, lambda images, prompts: images.flatten(1).mean(1), epochs=1).finish()
    assert run.epoch == 1 and run.config.model.name == "given-model"


def half() -> SimpleNamespace:
    """An object that has all of the protocol but two members."""
    whole = Sound.build(OPTIONS, dagsdk.BuildContext())
    members = [name for name in {**dagsdk.Model.__annotations__, **vars(dagsdk.Model)} if not name.startswith("_")]
    return SimpleNamespace(**{name: getattr(whole, name) for name in members if name not in ("decode", "latent_shape")})


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: DDPMPipeline(live().unet, DDPMScheduler()), "DDPMPipeline; a live model must be"),
        (lambda: torch.nn.Linear(2, 2), "Linear; a live model must be"),
        (half, "lacks latent_shape, decode of the protocol"),
        (lambda: None, "NoneType; a live model must be"),
    ],
)
def test_an_object_that_is_no_model_is_refused_by_its_class(model: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        align(model())


@pytest.mark.parametrize("name", ["shaeps", "./nowhere", "/no/such/folder", ""])
def test_a_name_that_is_no_model_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.name"):
        align(name)
