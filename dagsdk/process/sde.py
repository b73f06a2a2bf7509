"""Two stochastic samplers of rectified flow, as policies: Euler steps of SDEs with the marginals of the flow.

Both step from noise level σ by dt < 0, with velocity v = ε - x_0. In the limit of small steps they sample what the
flow samples; unlike `forward_policy` they are exact only in that limit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.errors import DensityError
from dagsdk.process.gaussian import Gaussian
from dagsdk.process.prediction import align, widen


def flow_sde(x: Tensor, velocity: Tensor, sigma: Tensor, dt: Tensor, a: float, sigma_max: float = 1.0) -> Gaussian:
    """Flow-SDE (Flow-GRPO, arXiv 2505.05470): noise s = a √(σ/(1-σ)).

    x, velocity: state and velocity, shape (b, ...).
    sigma, dt: noise level in (0, 1], and step, which is negative: shape (b,).
    sigma_max: largest σ used in s. At σ = 1 s is infinite, which is refused: pass the second σ of the chain.
    """
    bounded = sigma.clamp(max=sigma_max)
    return _euler(x, velocity, sigma, dt, a * (bounded / (1 - bounded)).sqrt())


def dance_sde(x: Tensor, velocity: Tensor, sigma: Tensor, dt: Tensor, a: float) -> Gaussian:
    """Dance-SDE (DanceGRPO, arXiv 2505.07818): constant noise s = a. Arguments as for `flow_sde`."""
    return _euler(x, velocity, sigma, dt, torch.full_like(sigma, a))


def _euler(x: Tensor, velocity: Tensor, sigma: Tensor, dt: Tensor, s: Tensor) -> Gaussian:
    x, velocity = widen(x), widen(velocity)
    # mean x (1 + s² dt / 2σ) + v (1 + s² (1 - σ) / 2σ) dt, std s √(-dt)
    half = s.square() * dt / (2 * sigma)
    mean = align(1 + half, x) * x + align(dt + half * (1 - sigma), x) * velocity
    std = s * (-dt).sqrt()
    if not std.isfinite().all():
        raise DensityError(
            f"standard deviations are {std.tolist()}, at sigma {sigma.tolist()} and dt {dt.tolist()}; they "
            "must be finite: use dt < 0, and sigma_max below 1 where sigma is 1"
        )
    return Gaussian(mean, align(std, x))
