"""Trajectories led back from given images: the noising kernel's states, and the current policy's densities."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from torch import Tensor
from torch.distributions import Normal

from dagsdk.objectives.parts import Needs
from dagsdk.objectives.trajectories import Latents, Trajectories
from dagsdk.prompts.protocol import Prompt

TEXTS = ("a cat", "b", "")


def ends(count: int, seed: int = 0) -> tuple[Trajectories, Tensor]:
    """Images without a path, and their terminal states."""
    draws = torch.Generator().manual_seed(seed)
    terminal = torch.randn(count, 4, 4, 4, generator=draws)
    none = torch.zeros(count, 0)
    images = Trajectories(
        prompts=tuple(Prompt(TEXTS[i % 3]) for i in range(count)),
        group=torch.arange(count) % 3,
        branch=100 + torch.arange(count),
        replayed=torch.ones(count, dtype=torch.bool),
        rewards=torch.randn(count, generator=draws),
        raw_rewards={"brightness": torch.randn(count, generator=draws)},
        log_prior=torch.zeros(count),
        log_pf_old=none,
        log_pb=none,
        epoch=2,
        epochs=9,
        latents=Latents(conditioning={}, clean=terminal + 1),
    )
    return images, terminal


def levels(b) -> tuple[Tensor, Tensor]:
    """α and σ at each state's time, float64."""
    path, times = b.model.path, b.schedule.times
    return path.alpha(times).double(), path.sigma(times).double()


def standardised(b, states: Tensor, k: int, later: int) -> Tensor:
    """x_k without what x_later leaves of it, in units of its noise: N(0, I) under the noising kernel.

    q(x_k | x_l) = N(α_k/α_l x_l, σ_k² - (α_k/α_l)² σ_l²), whatever lies between.
    """
    alpha, sigma = levels(b)
    ratio = alpha[k] / alpha[later]
    std = (sigma[k] ** 2 - (ratio * sigma[later]) ** 2).sqrt()
    return (states[:, k].double() - ratio * states[:, later].double()) / std


LAST_STEP = pytest.mark.parametrize("last_step", ["keep", "drop"])


@LAST_STEP
def test_states_are_those_of_the_noising_process(bench, last_step: str) -> None:
    b = bench(guidance_scale=1.0, last_step=last_step)
    (one, terminal), many = ends(1), 500
    images = one.part(torch.zeros(many, dtype=torch.long))
    states = evolve(b.sampler, batch=many).retrace(images, terminal.expand(many, -1, -1, -1), range(many)).states
    steps = b.schedule.steps
    n = many * 64
    for k in range(steps):
        z = standardised(b, states, k, steps)
        # 4.5 standard errors of a mean and of a variance
        assert abs(float(z.mean())) < 4.5 / n**0.5
        assert abs(float(z.var()) - 1) < 4.5 * (2 / n) ** 0.5
    for k in range(steps - 1):  # a Markov chain: what one transition draws is independent of what the next draws
        here, there = standardised(b, states, k, k + 1), standardised(b, states, k + 1, k + 2)
        assert abs(float((here * there).mean())) < 4.5 / n**0.5
        assert abs(float(here.var()) - 1) < 4.5 * (2 / n) ** 0.5


@LAST_STEP
def test_ends_are_kept_and_densities_are_the_current_policys(bench, last_step: str) -> None:
    b, (given, terminal) = bench(last_step=last_step), ends(6)
    b.perturb()
    t = b.sampler.retrace(given, terminal, range(6))
    assert torch.equal(t.states[:, -1], terminal) and torch.equal(t.latents.clean, given.latents.clean)
    for name in ("rewards", "group", "branch", "replayed"):
        assert torch.equal(getattr(t, name), getattr(given, name))
    assert torch.equal(t.raw_rewards["brightness"], given.raw_rewards["brightness"])
    assert (t.prompts, t.epoch, t.epochs) == (given.prompts, 2, 9)
    assert t.states.shape == (6, b.schedule.steps + 1, 4, 4, 4) and t.log_pf_old.shape == (6, b.schedule.steps)
    assert torch.allclose(t.log_prior, Normal(0.0, 1.0).log_prob(t.states[:, 0]).flatten(1).mean(1), atol=1e-6)
    times, conditioning = b.schedule.times, b.model.encode([prompt.text for prompt in given.prompts])
    for k in range(t.steps):
        now, after = times[k].expand(6), times[k + 1].expand(6)
        guided, conditional = b.policy.outputs(t.states[:, k], now, conditioning)
        assert torch.allclose(t.latents.outputs[:, k], guided, atol=1e-5)
        clean = b.policy.clean_state(conditional, t.states[:, k], now)[0]
        assert torch.allclose(t.latents.denoised[:, k], clean, atol=1e-4)
        forward = b.policy.transition(guided, t.states[:, k], now, after)
        density = Normal(forward.mean, forward.std).log_prob(t.states[:, k + 1])
        assert torch.allclose(t.log_pf_old[:, k], density.flatten(1).mean(1), rtol=1e-4, atol=1e-4)
        # log N(z; 0, 1) - log of the kernel's deviation
        alpha, sigma = levels(b)
        std = (sigma[k] ** 2 - (alpha[k] / alpha[k + 1] * sigma[k + 1]) ** 2).sqrt()
        z = standardised(b, t.states, k, k + 1)
        backward = (Normal(0.0, 1.0).log_prob(z) - std.log()).flatten(1).mean(1)
        assert torch.allclose(t.log_pb[:, k].double(), backward, rtol=1e-4, atol=1e-4)
    assert not any(
        tensor.requires_grad for tensor in (t.states, t.log_pf_old, t.log_pb, t.latents.outputs, t.latents.denoised)
    )


def test_the_reference_is_another_policy(bench) -> None:
    b, (given, terminal) = bench(), ends(4)
    before = b.sampler.retrace(given, terminal, range(4))
    b.perturb()
    t = evolve(b.sampler, reference=b.adapter.reference).retrace(given, terminal, range(4))
    assert torch.equal(t.states, before.states)  # the noising kernel does not ask the policy
    assert torch.allclose(t.reference.log_pf, before.log_pf_old, atol=1e-5)
    assert not torch.allclose(t.log_pf_old, before.log_pf_old, atol=1e-2)
    assert Needs.REFERENCE_PATH not in before.parts


def test_a_seed_retraces_the_same_states_in_any_batch(bench) -> None:
    b, (given, terminal) = bench(), ends(5)
    whole = evolve(b.sampler, batch=5).retrace(given, terminal, range(5))
    for batch in (1, 2, 3):
        parts = evolve(b.sampler, batch=batch).retrace(given, terminal, range(5))
        assert torch.equal(parts.states, whole.states)
        assert torch.allclose(parts.log_pf_old, whole.log_pf_old, atol=1e-5)
    others = b.sampler.retrace(given, terminal, range(5, 10))
    assert not torch.allclose(others.states[:, 0], whole.states[:, 0])
    ticks: list[int] = []
    evolve(b.sampler, batch=2, tick=ticks.append).retrace(given, terminal, range(5))
    assert sum(ticks) == 5 * b.schedule.steps
