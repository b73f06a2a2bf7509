"""Trajectories and batches that no network made: what objectives and rollouts are tested with."""

from __future__ import annotations

from collections.abc import Collection

import torch
from attrs import evolve
from torch import Tensor

from dagsdk.objectives.parts import (
    BackwardScores,
    FlowGradient,
    Needs,
    Old,
    OldOutput,
    Reference,
    ReferencePath,
    RewardGradient,
    Scores,
    StateFlow,
    StateFlowPath,
)
from dagsdk.objectives.protocol import Denoisings, Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.prompts.protocol import Prompt
from dagsdk.testing.records import TRAINED, only, with_leaves
from dagsdk.testing.samples import PROMPTS

EVERYTHING = frozenset(Needs)
LATENT = (4, 2, 2)
LARGE = 1e4  # far more than a log-density per dimension, or β times a reward, comes to
FAR = 50.0  # how far a log-density moves at most: exp(50) is 5e21, which float32 holds, unlike its square


def trajectories(
    prompts: int = 4,
    images_per_prompt: int = 3,
    branches: int = 1,
    branch_step: int = 0,
    steps: int = 5,
    seed: int = 0,
    *,
    needs: Collection[Needs] = EVERYTHING,
    epoch: int = 0,
    epochs: int = 10,
    large: bool = False,
    device: str = "cpu",
) -> Trajectories:
    """Trajectories in the sampler's order: those of a prompt, and those of a branch, are neighbours.

    They come without latents, like those of all processes. No two rewards are alike. Log-densities are about 1, as
    under the mean reduction.

    steps: T; 0 gives those of the forward process, which have no transitions, and no parts.
    needs: which parts are filled. No other tensor depends on it.
    large: log-densities of up to ±1e4 and rewards of about ±100 instead.
    """
    generator = torch.Generator().manual_seed(seed)
    b = prompts * images_per_prompt * branches
    branch = torch.arange(b) // branches
    log_pf = 1 + 0.3 * torch.randn(b, steps, generator=generator)
    log_pb = log_pf + 0.1 * torch.randn(b, steps, generator=generator)
    rewards = torch.randn(b, generator=generator)
    log_prior = -1.4 + 0.1 * torch.randn(b, generator=generator)
    log_reference = log_pf + 0.05 * torch.randn(b, steps, generator=generator)
    if large:
        log_pf, log_pb = (_large(b, steps, generator=generator) for _ in range(2))
        rewards, log_reference = 100 * rewards, log_pf + log_reference
    network = (LARGE if large else 1) * torch.randn(b, steps, generator=generator)
    potential = (100 if large else 1) * torch.randn(b, steps, generator=generator)
    for shared in (log_pf, log_pb, log_reference, network, potential):  # what a branch shares
        shared[:, :branch_step] = shared[branch * branches, :branch_step]
    log_prior = log_prior[branch * branches] if branch_step else log_prior
    texts = [PROMPTS[i % len(PROMPTS)].text + (f" {i}" if i >= len(PROMPTS) else "") for i in range(prompts)]
    group = branch // images_per_prompt
    drawn = Trajectories(
        prompts=tuple(Prompt(texts[i]) for i in group.tolist()),
        group=group.to(device),
        branch=branch.to(device),
        replayed=torch.zeros(b, dtype=torch.bool, device=device),
        rewards=rewards.to(device),
        raw_rewards={"drawn": (2 * rewards + 1).to(device)},
        log_prior=log_prior.to(device),
        log_pf_old=log_pf.to(device),
        log_pb=log_pb.to(device),
        epoch=epoch,
        epochs=epochs,
        parts={
            Needs.REFERENCE_PATH: ReferencePath(log_reference.to(device)),
            Needs.STATE_FLOW_PATH: StateFlowPath(
                torch.cat([network, torch.zeros(b, 1)], 1).to(device),
                torch.cat([potential, rewards[:, None]], 1).to(device),
            ),
        },
    )
    return only(drawn, needs if steps else ())


def transitions(
    needs: Collection[Needs] = EVERYTHING,
    n: int = 32,
    seed: int = 0,
    *,
    of: Trajectories | None = None,
    signals: Signals | None = None,
    moved: float = 0.01,
    large: bool = False,
    leaves: Collection[str] = TRAINED[Transitions],
) -> Transitions:
    """n transitions of trajectories, with the parts that the needs fill. No tensor depends on what else is needed.

    of: the trajectories; by default those of the same seed.
    signals: what an objective prepared for them.
    moved: by how much log p_F of every second transition or so differs from that at sampling, at most; the others
        did not move. The network's outputs moved with it, and the reference is as far away.
    large: log-densities, log F, β r(x_0) and reward gradients of up to ±1e4, and every transition moved.
    leaves: names of the tensors that are leaves with a gradient, where they are filled.
    """
    of = trajectories(seed=seed, large=large) if of is None else of
    signals = signals or Signals()
    device = of.rewards.device
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randint(len(of), (n,), generator=generator)
    step = torch.randint(of.steps, (n,), generator=generator)
    drawn = [_large(n, generator=generator) if large else torch.randn(n, generator=generator) for _ in range(3)]
    went = [moved * (2 * torch.rand(n, generator=generator) - 1) for _ in range(2)]
    if not large:
        went[0] = went[0] * (torch.rand(n, generator=generator) < 0.5)
    fields = [(torch.randn(n, *LATENT, generator=generator) * (LARGE if large else 1)).to(device) for _ in range(8)]
    alpha_bar = torch.rand(n, generator=generator).to(device)
    sample, step = sample.to(device), step.to(device)
    log_flow, log_flow_next, other_reward = (tensor.to(device) for tensor in drawn)
    drift, away = (tensor.to(device) for tensor in went)
    is_last = step == of.steps - 1
    old = of.log_pf_old[sample, step]
    log_reward = other_reward if large else signals.beta * of.rewards[sample]
    batch = Transitions(
        log_pf=old + drift,
        log_pb=of.log_pb[sample, step],
        log_reward=log_reward,
        is_last=is_last,
        step=step,
        signal=_signal(signals, sample, step),
        parts={
            Needs.STATE_FLOW: StateFlow(log_flow, torch.where(is_last, log_reward, log_flow_next)),
            Needs.OLD: Old(old),
            Needs.OLD_OUTPUT: OldOutput(drift.square()),
            Needs.REFERENCE: Reference(log_pf=old + drift + away, kl=away.square() / 2, gap=away.square()),
            Needs.REWARD_GRADIENT: RewardGradient(fields[0], fields[1], alpha_bar, alpha_bar.sqrt()),
            Needs.SCORES: Scores(fields[2], fields[3]),
            Needs.BACKWARD_SCORES: BackwardScores(fields[4], fields[5]),
            Needs.FLOW_GRADIENT: FlowGradient(fields[6], fields[7]),
        },
    )
    return with_leaves(only(batch, needs), leaves)


def denoisings(
    needs: Collection[Needs] = EVERYTHING,
    n: int = 32,
    seed: int = 0,
    *,
    of: Trajectories | None = None,
    signals: Signals | None = None,
    moved: float = 0.01,
    large: bool = False,
    leaves: Collection[str] = TRAINED[Denoisings],
) -> Denoisings:
    """n noised images, with the parts that the needs fill. No tensor depends on what else is needed.

    α² + σ² = 1, and the target is v = α ε - σ x_0, so that no two tensors are the same by chance.

    of: the trajectories that the images are of; by default those of the same seed, on the forward process.
    signals: what an objective prepared for them.
    moved: by how much the output of every second image or so differs from that at sampling, at most; the others
        did not move. The reference is as far away.
    large: outputs and β r(x_0) of up to ±1e4, and every output moved.
    leaves: names of the tensors that are leaves with a gradient, where they are filled.
    """
    of = trajectories(steps=0, seed=seed, large=large) if of is None else of
    signals = signals or Signals()
    device = of.rewards.device
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randint(len(of), (n,), generator=generator)
    angle = (0.02 + 0.96 * torch.rand(n, generator=generator)) * torch.pi / 2
    clean, noise, error = (torch.randn(n, *LATENT, generator=generator) for _ in range(3))
    drift, away = (moved * (2 * torch.rand(n, *LATENT, generator=generator) - 1) for _ in range(2))
    still = torch.rand(n, generator=generator) < 0.5
    other_reward = _large(n, generator=generator)
    if not large:
        drift = torch.where(_wide(still), 0.0, drift)
    alpha, sigma = angle.cos(), angle.sin()
    target = _wide(alpha) * noise - _wide(sigma) * clean
    output = target + (LARGE if large else 0.5) * error
    sample = sample.to(device)
    batch = Denoisings(
        output=(output + drift).to(device),
        target=target.to(device),
        noise=noise.to(device),
        x_t=(_wide(alpha) * clean + _wide(sigma) * noise).to(device),
        alpha=alpha.to(device),
        sigma=sigma.to(device),
        signal=_signal(signals, sample),
        log_reward=other_reward.to(device) if large else signals.beta * of.rewards[sample],
        group=of.group[sample],
        parts={
            Needs.OLD_OUTPUT: output.to(device),
            Needs.REFERENCE: (output + drift + away).to(device),
        },
    )
    return with_leaves(only(batch, needs), leaves)


def equally_rewarded(sampled: Trajectories, reward: float) -> Trajectories:
    """The same trajectories, but every reward is the same."""
    rewards = torch.full_like(sampled.rewards, reward)
    return evolve(sampled, rewards=rewards, raw_rewards={name: rewards.clone() for name in sampled.raw_rewards})


def _signal(signals: Signals, sample: Tensor, step: Tensor | None = None) -> Tensor:
    values = signals.values
    if values is None:
        return torch.zeros(len(sample), device=sample.device)
    return values[sample] if values.ndim == 1 or step is None else values[sample, step]


def _wide(values: Tensor) -> Tensor:
    """Values of shape (n,) with an axis for each of the latent's."""
    return values[:, None, None, None]


def _large(*shape: int, generator: torch.Generator) -> Tensor:
    """Values of up to ±1e4; every third or so is one or the other."""
    return LARGE * torch.randn(*shape, generator=generator).clamp(-1, 1)
