"""The contract of rewards (`dagsdk.rewards.protocol.Reward`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from attrs import Factory, define
from torch import Tensor

from dagsdk.prompts.protocol import Prompt
from dagsdk.specs import RewardSpec
from dagsdk.testing import samples
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, require
from dagsdk.testing.component_checks import COMPONENT_CHECKS


@define(eq=False, kw_only=True)
class RewardCase(Case):
    """A reward, and the images and prompts that it is tested with.

    images: at least two, not all alike: shape (b, 3, h, w), float32 in [0, 1], on the device of the context.
    prompts: b of them.
    tolerance: how far rewards of one image may differ in another batch, absolutely and relatively.
    """

    spec: RewardSpec[Any]
    images: Tensor = Factory(samples.images)
    prompts: Sequence[Prompt] = Factory(lambda case: samples.prompts(len(case.images)), takes_self=True)
    tolerance: float = 1e-4

    def reward(self, images: Tensor | None = None, prompts: Sequence[Prompt] | None = None) -> Tensor:
        """What the reward returns; for the images and prompts of the case unless others are given."""
        given = self.images.clone() if images is None else images
        rewards: Tensor = self.built(given, list(self.prompts if prompts is None else prompts))
        require(
            isinstance(rewards, Tensor),
            f"{self.name} returned {type(rewards).__name__}; it must return a torch.Tensor of shape (b,)",
        )
        return rewards

    @cached_property
    def rewards(self) -> Tensor:
        """Rewards of the case's images, without gradient."""
        return self.reward().detach()

    def close(self, rewards: Tensor, others: Tensor) -> bool:
        return torch.allclose(rewards.detach().double(), others.double(), rtol=self.tolerance, atol=self.tolerance)


def check_one_reward_per_image(case: RewardCase) -> None:
    """b images get rewards of shape (b,)."""
    shape, expected = tuple(case.rewards.shape), (len(case.images),)
    require(shape == expected, f"{case.name} returned shape {shape} for {expected[0]} images; it must be {expected}")


def check_rewards_are_float32(case: RewardCase) -> None:
    """Rewards are float32."""
    require(
        case.rewards.dtype == torch.float32,
        f"{case.name} returned {case.rewards.dtype}; rewards must be torch.float32: cast them with `.float()`",
    )


def check_rewards_stay_on_the_device(case: RewardCase) -> None:
    """Rewards are on the device of the images."""
    require(
        case.rewards.device == case.images.device,
        f"{case.name} returned rewards on {case.rewards.device} for images on {case.images.device}; move them back",
    )


def check_rewards_are_finite(case: RewardCase) -> None:
    """Any image has a finite reward, also a black, a white and a grey one."""
    for level in (None, 0.0, 0.5, 1.0):
        images = None if level is None else torch.full_like(case.images, level)
        rewards = case.reward(images).detach()
        shown = "a sample image" if level is None else f"an image with every value {level}"
        require(
            bool(rewards.isfinite().all()),
            f"{case.name} returned {rewards[~rewards.isfinite()][:1].tolist()} for {shown}; rewards must be finite: "
            "return a low one for an image that cannot be judged",
        )


def check_a_batch_of_one(case: RewardCase) -> None:
    """A batch of one image gets one reward."""
    rewards = case.reward(case.images[:1].clone(), case.prompts[:1])
    require(
        len(rewards.shape) > 0 and len(rewards) == 1,
        f"{case.name} returned shape {tuple(rewards.shape)} for one image; it must be (1,): do not squeeze",
    )


def check_rows_are_independent(case: RewardCase) -> None:
    """The reward of an image does not depend on the other images of its batch."""
    others = case.images.flip(-1).roll(1, 0)
    for row in range(len(case.images)):
        images = others.clone()
        images[row] = case.images[row]
        prompts = [case.prompts[row] if i == row else case.prompts[i - 1] for i in range(len(images))]
        found = case.reward(images, prompts)[row]
        require(
            case.close(found, case.rewards[row]),
            f"{case.name} returned {case.rewards[row].tolist()} for image {row}, but {found.tolist()} among other "
            "images; row i must depend on row i only: no statistics over the batch",
        )


def check_order_does_not_matter(case: RewardCase) -> None:
    """Images in another order have the same rewards in that order."""
    rewards = case.reward(case.images.flip(0).contiguous(), list(case.prompts)[::-1])
    require(
        case.close(rewards, case.rewards.flip(0)),
        f"{case.name} returned {case.rewards.tolist()}, but {rewards.flip(0).tolist()} for the same images in reverse "
        "order; a reward must not depend on the place in the batch",
    )


def check_the_same_input_gives_the_same_reward(case: RewardCase) -> None:
    """The same images twice give the same bits."""
    first, second = case.reward().detach(), case.reward().detach()
    require(
        torch.equal(first, second),
        f"{case.name} returned {first.tolist()}, and then {second.tolist()} for the same images; switch dropout off "
        "with `.eval()`, draw from a generator made anew in each call, and keep no state",
    )


def check_any_text_is_rewarded(case: RewardCase) -> None:
    """Prompts may be empty, long, or beyond ASCII."""
    for prompt in samples.PROMPTS:
        metadata = case.prompts[0].metadata
        try:
            rewards = case.reward(case.images.clone(), [Prompt(prompt.text, metadata)] * len(case.images)).detach()
        except Exception as error:
            raise ContractError(
                f"{case.name} raised {type(error).__name__} for the prompt {prompt.text[:40]!r}: {error}; any text "
                "must have a reward"
            ) from error
        require(
            bool(rewards.isfinite().all()),
            f"{case.name} returned a reward that is not finite for the prompt {prompt.text[:40]!r}; any text must have "
            "a finite one",
        )


def check_images_are_not_changed(case: RewardCase) -> None:
    """The images that it is given are not changed."""
    images = case.images.clone()
    case.reward(images)
    require(
        torch.equal(images, case.images),
        f"{case.name} changed the images it was given; work on a copy (no operation that ends in `_`)",
    )


def check_gradients_are_as_declared(case: RewardCase) -> None:
    """A gradient flows from rewards to images if and only if the record says `differentiable=True`."""
    images = case.images.clone().requires_grad_()
    rewards = case.reward(images)
    if not case.spec.differentiable:
        require(
            not rewards.requires_grad,
            f"{case.name} returned rewards with a gradient, but is not declared differentiable; declare "
            "`differentiable=True`, or compute them under `torch.no_grad()`",
        )
        return
    require(
        rewards.requires_grad,
        f"{case.name} is declared differentiable, but its rewards have no gradient; do not detach, round or "
        "leave torch on the way, or declare `differentiable=False`",
    )
    [gradient] = torch.autograd.grad(rewards.sum(), images)
    require(
        bool(gradient.isfinite().all()) and bool(gradient.count_nonzero()),
        f"{case.name} is declared differentiable, but the gradient of its rewards is zero or not finite; do not clamp "
        "it away, or declare `differentiable=False`",
    )


def check_no_gradient_by_default(case: RewardCase) -> None:
    """Rewards of images without gradient have no gradient, whatever weights the reward has."""
    require(
        not case.reward().requires_grad,
        f"{case.name} returned rewards with a gradient for images without; freeze its networks in build with "
        "`.requires_grad_(False)`",
    )


REWARD_CHECKS = (
    *COMPONENT_CHECKS,
    check_one_reward_per_image,
    check_rewards_are_float32,
    check_rewards_stay_on_the_device,
    check_rewards_are_finite,
    check_a_batch_of_one,
    check_rows_are_independent,
    check_order_does_not_matter,
    check_the_same_input_gives_the_same_reward,
    check_any_text_is_rewarded,
    check_images_are_not_changed,
    check_gradients_are_as_declared,
    check_no_gradient_by_default,
)
