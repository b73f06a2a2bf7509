"""Each rule of the reward contract is caught by its own check, and by no other, in a component that breaks just it."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

import attrs
import pytest
import torch

from dagsdk import NoOptions, RewardSpec
from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.reward_checks import REWARD_CHECKS, RewardCase


@attrs.frozen
class Options:
    """scale: what the reward is multiplied by."""

    scale: float = 1.0


def brightness(images, prompts):
    return images.mean(dim=(1, 2, 3))


def spec(reward: Any = brightness, **changes: Any) -> RewardSpec[Any]:
    fields = {
        "name": "tried",
        "summary": "Tried",
        "build": lambda options, context: reward,
        "options": Options,
        "differentiable": True,
    }
    return RewardSpec(**{**fields, **changes})


def failing(tried: RewardSpec[Any], **case: Any) -> dict[str, str]:
    found = outcomes(REWARD_CHECKS, RewardCase(spec=tried, **case), {}, strict=True)
    return {outcome.check: outcome.message for outcome in found if outcome.status == "failed"}


class Forgetful:
    """Dropout without a seed."""

    def __call__(self, images, prompts):
        return brightness(images, prompts) + torch.rand(len(images))


class Frozen:
    """Has a weight that somebody forgot to freeze."""

    weight = torch.nn.Parameter(torch.ones(()))

    def __call__(self, images, prompts):
        return self.weight * brightness(images, prompts)


def darkest_pixel_log(images, prompts):
    return images.mean(dim=(1, 2, 3)).log()


def spoils(images, prompts):
    rewards = brightness(images, prompts)
    images.data.clamp_(0.2, 0.8)
    return rewards


def chokes_on_unicode(images, prompts):
    for prompt in prompts:
        if len(prompts) == sum(other.text == prompt.text for other in prompts):
            prompt.text.encode("ascii")
    return brightness(images, prompts)


@attrs.define
class Changeable:
    """scale: what the reward is multiplied by."""

    scale: float = 1.0


@attrs.frozen
class Undocumented:
    """The option is not mentioned."""

    scale: float = 1.0


@attrs.frozen
class Untyped:
    """scale: what the reward is multiplied by."""

    scale: Any = 1.0


@attrs.frozen
class Doubling:
    """scale: what the reward is multiplied by."""

    scale: float = attrs.field(default=1.0, converter=lambda value: 2 * value)


def downloads(options, context):
    with contextlib.suppress(OSError):
        socket.create_connection(("example.org", 80), timeout=1)
    return brightness


BROKEN: dict[str, tuple[RewardSpec[Any], str]] = {
    "options_are_frozen": (spec(options=Changeable), "decorate the class with `@attrs.frozen`"),
    "options_have_types": (spec(options=Untyped), "options scale of Untyped accept any value"),
    "options_survive_a_run_file": (spec(options=Doubling), "read back"),
    "options_are_documented": (spec(options=Undocumented), "options scale have no line"),
    "works_offline": (spec(build=downloads), "example.org"),
    "one_reward_per_image": (spec(lambda i, p: brightness(i, p)[:, None]), "(4, 1) for 4 images"),
    "rewards_are_float32": (spec(lambda i, p: brightness(i, p).double()), "torch.float64"),
    "rewards_are_finite": (spec(darkest_pixel_log), "returned [-inf] for an image with every value 0.0"),
    "a_batch_of_one": (spec(lambda i, p: brightness(i, p).squeeze()), "must be (1,): do not squeeze"),
    "rows_are_independent": (
        spec(lambda i, p: brightness(i, p) - 0.5 * brightness(i, p).mean()),
        "row i must depend on row i only",
    ),
    "order_does_not_matter": (
        spec(lambda i, p: brightness(i, p) + 0.1 * torch.arange(len(i))),
        "must not depend on the place in the batch",
    ),
    "the_same_input_gives_the_same_reward": (spec(Forgetful()), "switch dropout off"),
    "any_text_is_rewarded": (spec(chokes_on_unicode), "UnicodeEncodeError"),
    "images_are_not_changed": (spec(spoils), "work on a copy"),
    "gradients_are_as_declared": (spec(lambda i, p: brightness(i, p).detach()), "declare `differentiable=False`"),
    "no_gradient_by_default": (spec(Frozen()), ".requires_grad_(False)"),
}
# A random reward also differs among other images and in another order.
ALSO = {"the_same_input_gives_the_same_reward": {"rows_are_independent", "order_does_not_matter"}}


def test_a_sound_reward_passes() -> None:
    assert not failing(spec())
    assert not failing(spec(lambda i, p: brightness(i, p).detach(), differentiable=False, options=NoOptions))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_reward_fails_the_check_of_its_rule_only(name: str) -> None:
    tried, message = BROKEN[name]
    found = failing(tried)
    assert message in found[name]
    assert set(found) - ALSO.get(name, set()) == {name}


def test_rewards_on_another_device_are_caught() -> None:
    found = failing(spec(lambda i, p: brightness(i, p).to("meta")))
    assert "meta" in found["rewards_stay_on_the_device"]


def test_an_undeclared_gradient_is_caught() -> None:
    found = failing(spec(differentiable=False))
    assert set(found) == {"gradients_are_as_declared"}
    assert "declare `differentiable=True`" in found["gradients_are_as_declared"]


def test_every_check_is_tested() -> None:
    assert {name_of(check) for check in REWARD_CHECKS} == {*BROKEN, "rewards_stay_on_the_device"}
