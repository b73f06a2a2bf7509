"""Reward-weighted likelihood: weights and gradient by formula, and its minimiser, the denoiser of the tilted model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor

from dagsdk import Denoisings, Prompt, Trajectories
from dagsdk.errors import TrainingError
from dagsdk.testing.trajectories import denoisings, trajectories
from dagsdk_gfn import dagsdk_objectives
from dagsdk_gfn.options import RewardWeightedOptions
from dagsdk_gfn.reward_weighted import RewardWeightedLikelihood


def rwr(**options: Any) -> RewardWeightedLikelihood:
    return RewardWeightedLikelihood(RewardWeightedOptions(**options))


def images(prompts: int = 2, per_prompt: int = 3, **changes: Any) -> Trajectories:
    """Images of the forward process, with rewards in float64."""
    drawn = trajectories(prompts, per_prompt, steps=0, seed=1)
    return evolve(drawn, **{"rewards": drawn.rewards.double(), **changes})


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- the weights ---


def test_weights_by_hand() -> None:
    two, three = numbers(2.0).log().item(), numbers(3.0).log().item()
    sampled = images(2, 2, rewards=numbers(0.0, three, 5.0, 5.0 + two))
    # exp(r) is 1 and 3 of a mean of 2; and e⁵ times 1 and 2 of a mean of 1.5
    torch.testing.assert_close(rwr().prepare(sampled).values, numbers(1 / 2, 3 / 2, 2 / 3, 4 / 3))
    # twice β squares them: 1 and 9 of 5, 1 and 4 of 2.5
    torch.testing.assert_close(rwr(beta=2.0).prepare(sampled).values, numbers(1 / 5, 9 / 5, 2 / 5, 8 / 5))


def test_weights_of_an_epoch_compare_prompts_too() -> None:
    sampled = images()
    w = rwr(beta=1.5, group="epoch").prepare(sampled).values
    expected = (1.5 * sampled.rewards).exp()
    torch.testing.assert_close(w, expected / expected.mean())
    by_prompt = rwr(beta=1.5).prepare(sampled).values
    torch.testing.assert_close(by_prompt.view(2, 3).mean(1), numbers(1.0, 1.0))
    # within a prompt, the two differ by a constant factor only
    ratio = (w / by_prompt).view(2, 3)
    torch.testing.assert_close(ratio, ratio[:, :1].expand(2, 3))


@pytest.mark.parametrize("group", ["prompt", "epoch"])
def test_as_beta_vanishes_all_weights_are_one(group: Any) -> None:
    signals = rwr(beta=1e-9, group=group).prepare(images())
    torch.testing.assert_close(signals.values, torch.ones(6, dtype=torch.float64))
    assert signals.metrics["effective_share"] == pytest.approx(1)
    # in the first epoch of a warm-up β is 0
    first = rwr(beta=100.0, beta_warmup=0.5, group=group).prepare(images(epoch=0, epochs=10))
    torch.testing.assert_close(first.values, torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("group", ["prompt", "epoch"])
def test_the_largest_rewards_do_not_overflow(group: Any) -> None:
    sampled = images(1, 3, rewards=torch.tensor([-1e4, 1e4, 1e4]))
    signals = rwr(beta=1e3, group=group).prepare(sampled)
    assert signals.values.dtype == torch.float32
    assert signals.values.tolist() == [0.0, 1.5, 1.5]
    assert signals.metrics["effective_share"] == pytest.approx(2 / 3)


def test_effective_share_is_the_effective_sample_size_per_image() -> None:
    sampled = images(1, 6)
    w = sampled.rewards.exp()
    share = rwr().prepare(sampled).metrics["effective_share"]
    assert share == pytest.approx(float(w.sum() ** 2 / w.square().sum() / 6))
    assert rwr(beta=1e6).prepare(sampled).metrics["effective_share"] == pytest.approx(1 / 6)  # one image has it all


def test_beta_rises() -> None:
    for epoch, beta in ((0, 0.0), (2, 1.6), (5, 4.0), (9, 4.0)):
        signals = rwr(beta=4.0, beta_warmup=0.5).prepare(images(epoch=epoch, epochs=10))
        assert signals.beta == signals.metrics["beta"] == pytest.approx(beta)


def test_a_prompt_that_an_epoch_draws_twice_is_one_group() -> None:
    again = evolve(images(2, 3), prompts=(Prompt("a"),) * 6)
    torch.testing.assert_close(rwr().prepare(again).values, rwr(group="epoch").prepare(again).values)


def test_one_image_per_prompt_cannot_be_compared() -> None:
    with pytest.raises(TrainingError, match=r"rollout\.images_per_prompt >= 2"):
        rwr().prepare(images(4, 1))
    rwr(group="epoch").prepare(images(4, 1))


# --- the loss ---


def batch_of(output: Tensor, target: Tensor, signal: Tensor) -> Denoisings:
    made = denoisings(needs=(), n=len(signal))
    return evolve(made, output=output, target=target, signal=signal)


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 2, 2)])
def test_gradient_is_that_of_the_formula(shape: tuple[int, ...]) -> None:
    """∇ of w · mean (f - y)² is 2 w (f - y) / d in each of the latent's d dimensions."""
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(2, 5, *shape, generator=generator, dtype=torch.float64)
    w = torch.rand(5, generator=generator, dtype=torch.float64)
    loss = rwr().loss(batch_of(output.requires_grad_(), target, w))
    error = (output - target).detach().flatten(1).square().mean(1)
    torch.testing.assert_close(loss.values, w * error)
    torch.testing.assert_close(loss.metrics["denoising_error"], error)
    (gradient,) = torch.autograd.grad(loss.values.sum(), output)
    wide = w.view(-1, *(1,) * len(shape))
    torch.testing.assert_close(gradient, 2 * wide * (output - target).detach() / output[0].numel())


# --- its minimiser ---


def least(w: Tensor, y: Tensor) -> Tensor:
    """The output f, one for all n rows, at which the mean loss is least; y has shape (n, d)."""
    f = torch.zeros(1, y.shape[1], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([f], max_iter=50, tolerance_grad=1e-12, tolerance_change=1e-15)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = rwr().loss(batch_of(f.expand_as(y), y, w)).values.mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return f.detach()[0]


def test_the_minimiser_of_two_images_is_the_weighted_mean() -> None:
    """Where two images are noised to the same x_t, the output is E[w y | x_t] / E[w | x_t]."""
    sampled = images(1, 2, rewards=numbers(0.0, 1.0))
    w = rwr(beta=2.0).prepare(sampled).values
    y = torch.tensor([[1.0, 0.0], [-1.0, 4.0]], dtype=torch.float64)
    likely = numbers(2.0).exp()  # exp(β r) of the second, against 1 of the first
    torch.testing.assert_close(least(w, y), (y[0] + likely * y[1]) / (1 + likely), rtol=1e-6, atol=1e-6)


def test_at_every_time_the_minimiser_is_the_denoiser_of_the_tilted_model() -> None:
    """Images ±1 with odds 1 : exp(β r) have E[x_0 | x_t] = tanh(α x_t / σ² + β (r_+ - r_-) / 2)."""
    beta, rewards = 1.5, numbers(-0.3, 0.7)  # of -1 and of +1
    w = rwr(beta=beta).prepare(images(1, 2, rewards=rewards)).values
    clean = numbers(-1.0, 1.0)
    for alpha, sigma in ((0.1, 0.995), (0.6, 0.8), (0.9, 0.436)):
        for x in (-1.2, 0.0, 0.7):
            # p_ref(x_0 | x_t), by how often each image leads to this x_t; a row of the batch for each
            often = torch.softmax(-((x - alpha * clean) ** 2) / (2 * sigma**2), 0)
            found = least(2 * often * w, clean[:, None])
            expected = numbers(alpha * x / sigma**2 + beta * (0.7 + 0.3) / 2).tanh()
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


# --- its record ---


def test_the_record_says_what_it_trains_on() -> None:
    (spec,) = (spec for spec in dagsdk_objectives() if spec.name == "rwr")
    options = RewardWeightedOptions()
    assert (spec.batches, spec.samples, spec.off_policy) == ("denoisings", "reference", False)
    assert spec.needs_of(options) == frozenset()
    assert spec.compares(options) and not spec.compares(RewardWeightedOptions(group="epoch"))


def test_it_has_no_state() -> None:
    assert rwr().state_dict() == {}
    with pytest.raises(TrainingError, match="has no state"):
        rwr().load_state_dict({"mean": 1.0})


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta_warmup": 1.5}])
def test_options_have_ranges(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RewardWeightedOptions(**wrong)
