"""Transitions of a Gaussian path: the policy p_F towards the image and the noising kernel p_B away from it.

Times t and t' have shape (b,); t' < t is the time after t. States have shape (b, ...). Coefficients, which are
differences of nearly equal numbers, are computed in float64 and then cast to the states' dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from dagsdk.errors import DensityError
from dagsdk.process.gaussian import Gaussian, Reduction
from dagsdk.process.path import GaussianPath
from dagsdk.process.prediction import align, widen

__all__ = [
    "Gaussian",
    "Reduction",
    "check_schedule",
    "forward_policy",
    "noising_kernel",
    "policy_variance",
    "posterior_variance",
    "transition_stds",
]


PolicyVariance = Literal["posterior", "geometric", "noising"]
"""Variance of the policy's noise: τ², κ (that of the noising kernel), or their geometric mean (`policy_variance`)."""


def noising_kernel(
    path: GaussianPath, x_next: Tensor, t: Tensor, t_next: Tensor, std_floor: float | None = None
) -> Gaussian:
    """p_B(x_t | x_t') = N((α_t/α_t') x_t', σ_t² - (α_t/α_t')² σ_t'²).

    x_next: x_t', shape (b, ...).
    std_floor: None refuses a negative variance (DensityError; the host waits for the device). A number clamps the
        standard deviation from below without a check, for schedules that passed `check_schedule`.
    """
    ratio, variance = _noising(path, t, t_next)
    x_next = widen(x_next)
    return _gaussian(align(ratio, x_next) * x_next, variance, std_floor)


def forward_policy(
    path: GaussianPath,
    x0: Tensor,
    eps: Tensor,
    t: Tensor,
    t_next: Tensor,
    eta: float,
    std_floor: float | None = None,
    variance: PolicyVariance = "posterior",
) -> Gaussian:
    """p_F(x_t' | x_t) = N(α_t' x̂_0 + √(σ_t'² - η²τ²) ε̂, η²τ²), with τ² of `posterior_variance`.

    With α = √ᾱ this is equation 12 of DDIM (arXiv 2010.02502). η = 1 is ancestral sampling; η = 0 has no
    density.

    x0, eps: the network's x̂_0 and ε̂ at x_t, shape (b, ...).
    eta: in [0, 1].
    std_floor: as for `noising_kernel`; it changes the noise and not the mean.
    variance: of the noise, where it is not η²τ²; the mean stays the same (`policy_variance`).
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta!r}; it must be in [0, 1]: 1 is ancestral sampling, 0 deterministic")
    x0, eps = widen(x0), widen(eps)
    # √(σ_t'² - η²τ²) is the noise of x_t that is kept; rounding may make it negative
    posterior = policy_variance(path, t, t_next, eta)
    kept = (_wide(path.sigma, t_next).square() - posterior).clamp(min=0).sqrt()
    mean = align(_wide(path.alpha, t_next), x0) * x0 + align(kept, eps) * eps
    noise = posterior if variance == "posterior" else policy_variance(path, t, t_next, eta, variance)
    return _gaussian(mean, noise, std_floor)


def policy_variance(
    path: GaussianPath, t: Tensor, t_next: Tensor, eta: float, kind: PolicyVariance = "posterior"
) -> Tensor:
    """η² times τ², κ or √(τ²κ), with κ = σ_t² - (α_t/α_t')² σ_t'² of `noising_kernel`: t's shape, float64.

    τ² is right for data that is a single point, κ for data of unit variance (arXiv 2006.11239, section 3.2).
    """
    posterior, noising = posterior_variance(path, t, t_next), _noising(path, t, t_next)[1]
    match kind:
        case "posterior":
            return eta**2 * posterior
        case "geometric":
            return eta**2 * (posterior * noising).sqrt()
        case "noising":
            return eta**2 * noising


def posterior_variance(path: GaussianPath, t: Tensor, t_next: Tensor) -> Tensor:
    """τ² = (σ_t'²/σ_t²) (σ_t² - (α_t/α_t')² σ_t'²), of x_t' given x_t and x_0: t's shape, float64."""
    _, variance = _noising(path, t, t_next)
    return (_wide(path.sigma, t_next) / _wide(path.sigma, t)).square() * variance


def _noising(path: GaussianPath, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
    ratio = _wide(path.alpha, t) / _wide(path.alpha, t_next)
    return ratio, _wide(path.sigma, t).square() - (ratio * _wide(path.sigma, t_next)).square()


def transition_stds(path: GaussianPath, times: Tensor, eta: float) -> Tensor:
    """Standard deviation η τ of each transition: shape (T,), float64. NaN where the times do not fall.

    times: shape (T + 1,), from noisy to clean.
    """
    return eta * posterior_variance(path, times[:-1], times[1:]).sqrt()


def check_schedule(path: GaussianPath, times: Tensor, eta: float, std_floor: float = 0.0) -> None:
    """Raises DensityError, with the first wrong step, unless every transition of a chain has a density.

    times: shape (T + 1,), from noisy to clean.
    std_floor: smallest standard deviation of a transition; above 0 it allows a last step without noise.

    After this check, `forward_policy` and `noising_kernel` may be given a `std_floor`, also 0, and check nothing.
    """
    if times.ndim != 1 or len(times) < 2:
        raise DensityError(
            f"times have shape {tuple(times.shape)}; a chain of T >= 1 transitions has T + 1 of them: set "
            'more rollout.steps, or rollout.last_step = "keep"'
        )
    kernel = _noising(path, times[:-1], times[1:])[1].sqrt()
    policy = transition_stds(path, times, eta)
    falls = (times[1:] < times[:-1]) & (kernel > 0) & (policy >= 0)
    bad = ~(falls & ((policy > 0) | (std_floor > 0)))
    if not bad.any():
        return
    step = int(bad.nonzero()[0])
    what = (
        f"step {step} of {len(policy)}, from time {times[step].item():.6g} to {times[step + 1].item():.6g} "
        f"with eta {eta:g}, has standard deviation {float(policy[step]):g}"
    )
    if not falls[step]:
        raise DensityError(f"{what}; times must fall from noisy to clean without repeats: check the model's schedule")
    raise DensityError(
        f"{what}; a density needs a positive one: set rollout.eta > 0, and for a last step without noise "
        'set rollout.last_step = "drop" or rollout.std_floor to a small number such as 0.01'
    )


def _gaussian(mean: Tensor, variance: Tensor, std_floor: float | None) -> Gaussian:
    if std_floor is not None:
        return Gaussian(mean, align(variance.clamp(min=0).sqrt(), mean)).floored(std_floor)
    wrong = ~(variance >= 0)
    if wrong.any():
        raise DensityError(
            f"variance of a transition is {float(variance[wrong][0]):g}; it must be >= 0: "
            "times must fall from noisy to clean (t_next < t)"
        )
    return Gaussian(mean, align(variance.sqrt(), mean))


def _wide(level: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    # Apple's GPUs have no float64
    widest = torch.float32 if t.device.type == "mps" else torch.float64
    return level(t.to(widest) if t.is_floating_point() else t).to(widest)
