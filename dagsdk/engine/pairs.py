"""Which (trajectory, step) pairs an update sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.objectives.trajectories import Trajectories
from dagsdk.process.conditioning import Conditioning, take


@frozen(eq=False)
class Pairs:
    """n (sample, step) pairs, both of shape (n,), int64. On the forward process a step is the number of a noising."""

    sample: Tensor
    step: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    @staticmethod
    def joined(parts: Sequence[Pairs]) -> Pairs:
        return Pairs(torch.cat([part.sample for part in parts]), torch.cat([part.step for part in parts]))

    def shares(self, count: int) -> list[Pairs]:
        """`count` parts, one after the other, whose sizes differ by one at most."""
        return [
            Pairs(self.sample[start:end], self.step[start:end])
            for start, end in pairwise(len(self) * i // count for i in range(count + 1))
        ]

    def split(self, size: int) -> list[Pairs]:
        return (
            [Pairs(s, k) for s, k in zip(self.sample.split(size), self.step.split(size), strict=True)]
            if len(self)
            else []
        )

    def of(self, tensor: Tensor, offset: int = 0) -> Tensor:
        """The entries [sample, step + offset] of a tensor of shape (b, T or T + 1, ...)."""
        return tensor[self.sample, self.step + offset]

    def conditioning(self, trajectories: Trajectories) -> Conditioning:
        return take(trajectories.latents.conditioning, self.sample)


def pairs(selected: Tensor, window: tuple[int, int]) -> Pairs:
    """Every step in [first, end) of every selected trajectory; selected: shape (b,), bool."""
    return Pairs(
        *torch.cartesian_prod(selected.nonzero().squeeze(-1), torch.arange(*window, device=selected.device)).unbind(-1)
    )


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
