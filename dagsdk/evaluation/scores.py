"""Scores on fixed prompts and seeds, and whether they rose by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.sampler import Sampler, decoded
from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.rewards.mixture import Mixture
from dagsdk.rollouts.protocol import RolloutPlan


@frozen(eq=False)
class Scored:
    """Images (n, 3, h, w) on the CPU and, by reward, their scores (n,), without weights."""

    images: Tensor
    scores: dict[str, Tensor]


def score_fixed(sampler: Sampler, reward: Mixture, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Scored:
    """Samples one image a prompt and seed, and scores it; the same each time for the same weights."""
    plan = RolloutPlan(window=(0, sampler.policy.schedule.steps))
    images, scores = [], []
    for start in range(0, len(prompts), sampler.batch):
        part = slice(start, start + sampler.batch)
        trajectories = sampler.sample(prompts[part], seeds[part], plan)
        batch = decoded(sampler.policy, trajectories.clean, sampler.batch)
        images.append(batch.cpu())
        scores.append(reward.score_each(batch, prompts[part]))
    return Scored(torch.cat(images), {name: torch.cat([part[name] for part in scores]).cpu() for name in scores[0]})


def fixed_prompts(prompts: PromptSet, count: int) -> list[Prompt]:
    """`count` prompts, the set over and over."""
    return [prompts[i % len(prompts)] for i in range(count)]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for a single value)."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else 0.0
    return mean, math.sqrt(variance / n)


def paired_gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of the differences after - before, image by image (same prompts and seeds)."""
    return mean_and_error([a - b for b, a in zip(before, after, strict=True)])
