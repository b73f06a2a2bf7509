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
    """A reward, and what it scores.

    images: at least two, not all alike: shape (b, 3, h, w), float32 in [0, 1], on the context's device.
    prompts: b of them.
    tolerance: how far scores of one image may differ, absolutely and relatively, when it is scored in other company.
    """

    spec: RewardSpec[Any]
    images: Tensor = Factory(samples.images)
    prompts: Sequence[Prompt] = Factory(lambda case: samples.prompts(len(case.images)), takes_self=True)
    tolerance: float = 1e-4

    def score(self, images: Tensor | None = None, prompts: Sequence[Prompt] | None = None) -> Tensor:
        """What the reward gives: `images` and `prompts` of the case unless others are given."""
        given = self.images.clone() if images is None else images
        scores: Tensor = self.built(given, list(self.prompts if prompts is None else prompts))
        require(
            isinstance(scores, Tensor),
            f"{self.name} returned {type(scores).__name__}; it must return a torch.Tensor of shape (b,)",
        )
        return scores

    @cached_property
    def scores(self) -> Tensor:
        """Scores of the case's images, without gradient."""
        return self.score().detach()

    def close(self, scores: Tensor, others: Tensor) -> bool:
        return torch.allclose(scores.detach().double(), others.double(), rtol=self.tolerance, atol=self.tolerance)


def check_one_score_an_image(case: RewardCase) -> None:
    """b images get scores of shape (b,)."""
    shape, expected = tuple(case.scores.shape), (len(case.images),)
    require(shape == expected, f"{case.name} returned shape {shape} for {expected[0]} images; it must be {expected}")


def check_scores_are_float32(case: RewardCase) -> None:
    """Scores are float32."""
    require(
        case.scores.dtype == torch.float32,
        f"{case.name} returned {case.scores.dtype}; scores must be torch.float32: cast them with `.float()`",
    )


def check_scores_stay_on_the_device(case: RewardCase) -> None:
    """Scores are on the device of the images."""
    require(
        case.scores.device == case.images.device,
        f"{case.name} returned scores on {case.scores.device} for images on {case.images.device}; move them back",
    )


def check_scores_are_finite(case: RewardCase) -> None:
    """Any image has a finite score, also a black, a white and a grey one."""
    for level in (None, 0.0, 0.5, 1.0):
        images = None if level is None else torch.full_like(case.images, level)
        scores = case.score(images).detach()
        shown = "a sample image" if level is None else f"an image with every value {level}"
        require(
            bool(scores.isfinite().all()),
            f"{case.name} scored {shown} {scores[~scores.isfinite()][:1].tolist()}; scores must be finite: return a "
            "low one for an image that cannot be judged",
        )


def check_a_batch_of_one(case: RewardCase) -> None:
    """One image alone gets one score."""
    scores = case.score(case.images[:1].clone(), case.prompts[:1])
    require(
        len(scores.shape) > 0 and len(scores) == 1,
        f"{case.name} returned shape {tuple(scores.shape)} for one image; it must be (1,): do not squeeze",
    )


def check_rows_are_independent(case: RewardCase) -> None:
    """The score of an image does not depend on the other images of its batch."""
    others = case.images.flip(-1).roll(1, 0)
    for row in range(len(case.images)):
        images = others.clone()
        images[row] = case.images[row]
        prompts = [case.prompts[row] if i == row else case.prompts[i - 1] for i in range(len(images))]
        score = case.score(images, prompts)[row]
        require(
            case.close(score, case.scores[row]),
            f"{case.name} scored image {row} {case.scores[row].tolist()}, and {score.tolist()} among other images; "
            "row i must depend on row i only: no statistics over the batch",
        )


def check_order_does_not_matter(case: RewardCase) -> None:
    """Images in another order have the same scores in that order."""
    scores = case.score(case.images.flip(0).contiguous(), list(case.prompts)[::-1])
    require(
        case.close(scores, case.scores.flip(0)),
        f"{case.name} scored the images {case.scores.tolist()}, and {scores.flip(0).tolist()} when they came in "
        "reverse; a score must not depend on the place in the batch",
    )


def check_the_same_input_has_the_same_score(case: RewardCase) -> None:
    """Scoring twice gives the same bits."""
    first, second = case.score().detach(), case.score().detach()
    require(
        torch.equal(first, second),
        f"{case.name} scored the same images {first.tolist()} and then {second.tolist()}; switch dropout off with "
        "`.eval()`, draw from a generator made anew in each call, and keep no state",
    )


def check_any_text_is_scored(case: RewardCase) -> None:
    """Prompts may be empty, long, or beyond ASCII."""
    for prompt in samples.PROMPTS:
        metadata = case.prompts[0].metadata
        try:
            scores = case.score(case.images.clone(), [Prompt(prompt.text, metadata)] * len(case.images)).detach()
        except Exception as error:
            raise ContractError(
                f"{case.name} raised {type(error).__name__} for the prompt {prompt.text[:40]!r}: {error}; any text "
                "must have a score"
            ) from error
        require(bool(scores.isfinite().all()), f"{case.name} gave {prompt.text[:40]!r} a score that is not finite")


def check_images_are_left_as_they_were(case: RewardCase) -> None:
    """Scoring does not change the images that it is given."""
    images = case.images.clone()
    case.score(images)
    require(
        torch.equal(images, case.images),
        f"{case.name} changed the images it was given; work on a copy (no operation that ends in `_`)",
    )


def check_gradients_are_as_declared(case: RewardCase) -> None:
    """A gradient flows from scores to images exactly where `differentiable` says so."""
    images = case.images.clone().requires_grad_()
    scores = case.score(images)
    if not case.spec.differentiable:
        require(
            not scores.requires_grad,
            f"{case.name} returned scores with a gradient and is not declared differentiable; declare "
            "`differentiable=True`, or score under `torch.no_grad()`",
        )
        return
    require(
        scores.requires_grad,
        f"{case.name} is declared differentiable, and its scores have no gradient; do not detach, round or "
        "leave torch on the way, or declare `differentiable=False`",
    )
    [gradient] = torch.autograd.grad(scores.sum(), images)
    require(
        bool(gradient.isfinite().all()) and bool(gradient.count_nonzero()),
        f"{case.name} is declared differentiable, and the gradient of its scores is zero or not finite",
    )


def check_no_gradient_where_none_is_asked(case: RewardCase) -> None:
    """Scores of images without gradient have none, whatever weights the reward has."""
    require(
        not case.score().requires_grad,
        f"{case.name} returned scores with a gradient for images without; freeze its networks in build with "
        "`.requires_grad_(False)`",
    )


REWARD_CHECKS = (
    *COMPONENT_CHECKS,
    check_one_score_an_image,
    check_scores_are_float32,
    check_scores_stay_on_the_device,
    check_scores_are_finite,
    check_a_batch_of_one,
    check_rows_are_independent,
    check_order_does_not_matter,
    check_the_same_input_has_the_same_score,
    check_any_text_is_scored,
    check_images_are_left_as_they_were,
    check_gradients_are_as_declared,
    check_no_gradient_where_none_is_asked,
)
