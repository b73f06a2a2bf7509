"""A local plugin: what pays for lying where a known density is high, so that the right answer is known.

Densities are over points of the plane, and normalised: with β = 1 an objective for p(x) ∝ exp(β r(x)) aims at `target`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from attrs import frozen

from dagsdk import BuildContext, Prompt, RewardSpec, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

RADIUS, THICKNESS, LEAN = 1.8, 0.25, 0.8
# `vector` is pretrained on nine modes of scale 0.4 and ends its path at log α²/σ² = 5: at α x_0 + σ ε.
ALPHA = (1 / (1 + math.exp(-5))) ** 0.5
PRIOR_SCALE = (ALPHA**2 * 0.4**2 + 1 - ALPHA**2) ** 0.5


@frozen(kw_only=True)
class Options:
    """target: "nine-modes", Gaussians of scale 0.3 and weights 1 2 1 / 2 4 2 / 1 2 1; "ring", heavier on the right.
    relative: whether the reward is log(target / density of the pretraining data), for objectives that aim at
        p_ref(x) exp(r(x)), and not log(target).
    """

    target: Literal["nine-modes", "ring"] = "nine-modes"
    relative: bool = False


def mixture(x: Tensor, weights: Sequence[float], spacing: float, scale: float) -> Tensor:
    """log Σ_m w_m N(x; c_m, scale² I) of modes on a 3 × 3 grid, row by row: (n, 2) → (n,)."""
    import torch

    centres = torch.cartesian_prod(*[torch.tensor([-spacing, 0.0, spacing]).to(x)] * 2)
    logits = (torch.tensor(weights).to(x) / sum(weights)).log() - math.log(2 * math.pi * scale**2)
    return torch.logsumexp(logits - (x[:, None] - centres).square().sum(-1) / (2 * scale**2), 1)


def nine_modes(x: Tensor) -> Tensor:
    return mixture(x, (1, 2, 1, 2, 4, 2, 1, 2, 1), spacing=1.5, scale=0.3)


def ring(x: Tensor) -> Tensor:
    """Radius N(1.8, 0.25²), and independent of it a von Mises angle of concentration 0.8 about the first axis."""
    import torch

    radius = x.norm(dim=1).clamp(min=1e-6)
    angle = LEAN * x[:, 0] / radius - (2 * math.pi * torch.special.i0(torch.tensor(LEAN).to(x))).log()
    across = -((radius - RADIUS) ** 2) / (2 * THICKNESS**2) - math.log(THICKNESS * math.sqrt(2 * math.pi))
    return angle + across - radius.log()  # dx = ρ dρ dθ


def prior(x: Tensor) -> Tensor:
    """What `vector` is pretrained on, where its path ends."""
    return mixture(x, (1,) * 9, spacing=ALPHA * 1.5, scale=PRIOR_SCALE)


def build(options: Options, context: BuildContext) -> Any:
    target = {"nine-modes": nine_modes, "ring": ring}[options.target]

    def log_density(points: Tensor, prompts: Sequence[Prompt]) -> Tensor:
        return target(points) - prior(points) if options.relative else target(points)

    return log_density


@hookimpl
def dagsdk_rewards() -> Iterable[RewardSpec[Any]]:
    summary = "Log-density of a target in the plane"
    yield RewardSpec(name="known-density", summary=summary, build=build, options=Options, differentiable=True)
