"""Seeds of everything random, each from the run's seed and what it is for, so that order and batching do not matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

TRAJECTORY, SHUFFLE, ADAPTER, STATE_FLOW, FLOW_GRADIENT, STRATA, REPLAY, TIMES, DENOISING = range(9)
"""What a seed is for."""


def derived(seed: int, purpose: int, *counters: int) -> int:
    """A seed in [0, 2^63) that is independent of those for other purposes and counters (numpy's SeedSequence)."""
    return int(np.random.SeedSequence([seed, purpose, *counters]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


class Noise:
    """Standard normal noise for b trajectories, each from a CPU generator of its own.

    Drawn in the order diffusers draws it (the initial latent, then one latent per step), so that a trajectory's seed
    means the same here and in ``pipeline(generator=torch.Generator().manual_seed(seed))``.
    """

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str) -> None:
        self._generators = [generator(seed) for seed in seeds]
        self._shape = (len(seeds), *shape)
        self._device = torch.device(device)

    def draw(self) -> Tensor:
        """The next noise of each trajectory: shape (b, *shape), float32."""
        noise: Tensor = randn_tensor(self._shape, self._generators, self._device, torch.float32)
        return noise
