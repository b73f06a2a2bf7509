"""A diagonal Gaussian over states: the form of every transition, forwards and backwards."""

from __future__ import annotations

import math
from typing import Literal

import torch
from attrs import evolve, field, frozen
from torch import Tensor

from dagsdk.errors import DensityError
from dagsdk.process.prediction import widen

Reduction = Literal["mean", "sum"]
"""Of a log-density over the dimensions of a state: "sum" is the log-density itself, "mean" is per dimension."""


@frozen(eq=False)
class Gaussian:
    """N(mean, std² I).

    mean: shape (b, ...), float32 or wider.
    std: same number of axes, of a shape that broadcasts to mean's.
    checked: whether std is known to be positive, so that `log_prob` does not check it (a check makes the host wait for
        an accelerator).
    """

    mean: Tensor
    std: Tensor
    checked: bool = field(default=False, kw_only=True)

    def score(self, x: Tensor) -> Tensor:
        """∇_x log N(x; mean, std²) = -(x - mean) / std² at states x of mean's shape: that shape, float32 or wider."""
        return -(widen(x) - self.mean) / self.std.square()

    def log_prob(self, x: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Log-density at states x of shape (b, ...), reduced over their dimensions: shape (b,), float32 or wider.

        Raises DensityError where std is not a positive, finite number, unless it was floored.
        """
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}; it must be 'mean' or 'sum'")
        if x.shape != self.mean.shape:
            raise ValueError(f"states have shape {tuple(x.shape)}; this Gaussian is over {tuple(self.mean.shape)}")
        if not self.checked:
            require_positive(self.std)
        # log N = -(x - μ)² / 2σ² - log σ - ½ log 2π
        scaled = (widen(x) - self.mean) / self.std
        terms = -scaled.square() / 2 - self.std.log() - 0.5 * math.log(2 * math.pi)
        rows = terms.unsqueeze(-1).flatten(1)  # (b, d), also for states without axes of their own
        return rows.mean(1) if reduction == "mean" else rows.sum(1)

    def kl(self, other: Gaussian, reduction: Reduction = "mean") -> Tensor:
        """KL(self ‖ other) in nats, reduced over the dimensions of the states: shape (b,)."""
        # log(σ₂/σ₁) + (σ₁² + (μ₁ - μ₂)²) / 2σ₂² - ½
        ratio = self.std / other.std
        terms = (ratio.square() + ((self.mean - other.mean) / other.std).square() - 1) / 2 - ratio.log()
        rows = terms.unsqueeze(-1).flatten(1)
        return rows.mean(1) if reduction == "mean" else rows.sum(1)

    def at(self, noise: Tensor) -> Tensor:
        """mean + std · noise for noise of shape (b, ...), with gradient to mean and std."""
        return self.mean + self.std * widen(noise)

    def sample(self, generator: torch.Generator) -> Tensor:
        """A random state of mean's shape and dtype, without gradient. Noise is drawn on the generator's device."""
        if not isinstance(generator, torch.Generator):
            raise TypeError(
                f"generator is {generator!r}; it must be a torch.Generator, so that runs can be repeated: make one "
                "with torch.Generator(device).manual_seed(seed)"
            )
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device, dtype=self.mean.dtype)
        return self.at(noise.to(self.mean.device)).detach()

    def widened(self, factor: Tensor) -> Gaussian:
        """The same with std times a positive factor, of a shape that broadcasts to the mean's."""
        return evolve(self, std=self.std * factor)

    def floored(self, minimum: float) -> Gaussian:
        """The same with std of at least `minimum`, and known to be positive.

        A minimum of 0, for schedules that were checked already, means the smallest normal number.
        """
        if not (minimum >= 0 and math.isfinite(minimum)):
            raise ValueError(f"std_floor is {minimum!r}; it must be a finite number >= 0")
        smallest = torch.finfo(self.std.dtype).tiny
        return evolve(self, std=self.std.clamp(min=max(minimum, smallest)), checked=True)


def require_positive(std: Tensor) -> None:
    """Raises DensityError, with the first wrong value, unless every std is a positive, finite number."""
    wrong = ~((std > 0) & std.isfinite())
    if wrong.any():
        raise DensityError(
            f"standard deviation is {float(std[wrong][0]):g}; a density needs a positive, finite one: set "
            "rollout.eta > 0 and check that times fall; for a last step without noise set "
            'rollout.last_step = "drop" or rollout.std_floor'
        )
