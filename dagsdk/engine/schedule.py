"""The chain of times that trajectories go through, verified once to have a density at every transition."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.config.schema import RolloutConfig
from dagsdk.models.protocol import Model
from dagsdk.process.gaussian import Reduction
from dagsdk.process.transition import PolicyVariance, check_schedule


@frozen(eq=False)
class Schedule:
    """T transitions between T + 1 falling times, and perhaps a last noiseless step that belongs to the decoder.

    times: shape (T + 1,), on the device of the run.
    tail: the time after the last transition, shape (1,), or None: with it the state at times[T] is still noisy and
        is taken to `tail` by the policy's mean.
    """

    times: Tensor
    tail: Tensor | None
    eta: float
    variance: PolicyVariance
    std_floor: float
    reduction: Reduction

    @property
    def steps(self) -> int:
        """T."""
        return len(self.times) - 1


def schedule(model: Model, config: RolloutConfig, device: torch.device | str, *, has_density: bool = True) -> Schedule:
    """The schedule of a rollout. Raises DensityError for a transition without a density, where one is needed."""
    times = model.times(config.steps)
    tail = None
    if config.last_step == "drop":
        times, tail = times[:-1], times[-1:]
    if has_density:
        check_schedule(model.path, times, config.eta, config.std_floor)
    return Schedule(
        times=times.to(device),
        tail=None if tail is None else tail.to(device),
        eta=config.eta,
        variance="posterior" if config.variance == "learned" else config.variance,
        std_floor=config.std_floor,
        reduction=config.reduction,
    )
