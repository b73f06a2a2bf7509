"""What the sampler hands on: b trajectories of T transitions, and the pairs of them that an update sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import Factory, evolve, fields, frozen
from torch import Tensor

from dagsdk.families.conditioning import Conditioning, concatenate, take
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.normalisation import Scales


@frozen(kw_only=True, eq=False)
class Trajectory:
    """b sampled trajectories. Nothing in here has a gradient; states are float32 as stored.

    prompts: b of them.
    seeds: of their noise, b integers.
    conditioning: of the prompts, first axis b.
    group: shape (b,), int64; the same number shares a prompt.
    branch: shape (b,), int64; the same number shares its first steps.
    states: shape (b, T + 1, *latent), from noise to the terminal state.
    clean: shape (b, *latent): what is decoded; the terminal state, or one noiseless step after it.
    log_prior: shape (b,), of the noise.
    log_pf_old, log_pb: shape (b, T), of each transition when it was sampled.
    log_pf_reference: shape (b, T), of each transition under the reference, where an objective looks at it.
    outputs: the guided output at each state, shape (b, T, *latent), where an objective compares with it.
    denoised: the conditional x̂_0 at each state, shape (b, T, *latent), where potentials are recorded.
    log_flow, potential: shape (b, T + 1), of every state, where an objective looks at the flow along the whole path.
    scores: rewards of the images, shape (b,), float32, on their scales and weighted; zeros until they are scored.
    scales: of the rewards that are normalised, for these b trajectories.
    epoch, epochs: e counted from 0, and E.
    """

    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    conditioning: Conditioning
    group: Tensor
    branch: Tensor
    states: Tensor
    clean: Tensor
    log_prior: Tensor
    log_pf_old: Tensor
    log_pb: Tensor
    log_pf_reference: Tensor | None = None
    outputs: Tensor | None = None
    denoised: Tensor | None = None
    log_flow: Tensor | None = None
    potential: Tensor | None = None
    scores: Tensor
    scales: Scales = Factory(dict)
    epoch: int = 0
    epochs: int = 1

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def steps(self) -> int:
        """T."""
        return self.log_pf_old.shape[1]

    def part(self, rows: slice) -> Trajectory:
        """The trajectories in these rows."""
        changes: dict[str, Any] = {
            "prompts": self.prompts[rows],
            "seeds": self.seeds[rows],
            "conditioning": {name: tensor[rows] for name, tensor in self.conditioning.items()},
        }
        changes |= {name: tensor[rows] for name, tensor in _tensors(self).items()}
        return evolve(self, **changes)

    def scored(self, scores: Tensor, scales: Scales) -> Trajectory:
        return evolve(self, scores=scores, scales=scales)


@frozen(kw_only=True, eq=False)
class Ends:
    """n images that trajectories lead to.

    prompts: n of them. group, branch: as of trajectories. terminal, clean: shape (n, *latent). scores: shape (n,).
    """

    prompts: tuple[Prompt, ...]
    group: Tensor
    branch: Tensor
    terminal: Tensor
    clean: Tensor
    scores: Tensor

    def part(self, rows: slice) -> Ends:
        tensors = {name: getattr(self, name)[rows] for name in ("group", "branch", "terminal", "clean", "scores")}
        return Ends(prompts=self.prompts[rows], **tensors)


def joined(parts: Sequence[Trajectory]) -> Trajectory:
    """The trajectories of all parts, one after the other."""
    first = parts[0]
    changes: dict[str, Any] = {
        "prompts": tuple(prompt for part in parts for prompt in part.prompts),
        "seeds": tuple(seed for part in parts for seed in part.seeds),
        "conditioning": concatenate([part.conditioning for part in parts]),
    }
    changes |= {name: torch.cat([getattr(part, name) for part in parts]) for name in _tensors(first)}
    return evolve(first, **changes)


def _tensors(trajectories: Trajectory) -> dict[str, Tensor]:
    found = ((attribute.name, getattr(trajectories, attribute.name)) for attribute in fields(Trajectory))
    return {name: value for name, value in found if isinstance(value, Tensor)}


@frozen(eq=False)
class Pairs:
    """n (sample, step) pairs: which transitions a micro-batch is made of. Both of shape (n,), int64."""

    sample: Tensor
    step: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    @staticmethod
    def joined(parts: Sequence[Pairs]) -> Pairs:
        return Pairs(torch.cat([part.sample for part in parts]), torch.cat([part.step for part in parts]))

    def shares(self, count: int) -> list[Pairs]:
        """`count` parts, one after the other, whose sizes differ by one at most."""
        bounds = [len(self) * i // count for i in range(count + 1)]
        return [Pairs(self.sample[start:end], self.step[start:end]) for start, end in pairwise(bounds)]

    def split(self, size: int) -> list[Pairs]:
        return [Pairs(s, k) for s, k in zip(self.sample.split(size), self.step.split(size), strict=True)]

    def of(self, tensor: Tensor, offset: int = 0) -> Tensor:
        """The entries [sample, step + offset] of a tensor of shape (b, T or T + 1, ...)."""
        return tensor[self.sample, self.step + offset]

    def conditioning(self, trajectories: Trajectory) -> Conditioning:
        return take(trajectories.conditioning, self.sample)


def pairs(selected: Tensor, window: tuple[int, int]) -> Pairs:
    """Every step in [first, end) of every selected trajectory; selected: shape (b,), bool."""
    samples = selected.nonzero().squeeze(-1)
    steps = torch.arange(*window, device=selected.device)
    return Pairs(samples.repeat_interleave(len(steps)), steps.repeat(len(samples)))


def stratified(selected: Tensor, window: tuple[int, int], strata: int, draws: torch.Generator) -> Pairs:
    """Of every selected trajectory the last step in [first, end), and one from each of equal parts of those before it.

    selected: shape (b,), bool. strata: number of parts; where there are fewer steps, each is a part.
    draws: a CPU generator.
    """
    first, last = window[0], window[1] - 1
    samples = selected.nonzero().squeeze(-1)
    count = min(strata, last - first)
    bounds = first + torch.arange(count + 1) * (last - first) // max(count, 1)
    widths = bounds.diff()
    drawn = bounds[:-1] + (torch.rand(len(samples), count, generator=draws) * widths).long().clamp(max=widths - 1)
    steps = torch.cat([drawn, torch.full((len(samples), 1), last)], 1).to(selected.device)
    return Pairs(samples.repeat_interleave(count + 1), steps.flatten())
