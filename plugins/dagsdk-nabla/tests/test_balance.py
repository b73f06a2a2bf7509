"""∇-DB on a linear-Gaussian chain whose balance is known: data N(0, 1) before training, N(0, v) as the target."""

from __future__ import annotations

import torch
from attrs import evolve, frozen
from torch import Tensor
from torch.distributions import Normal

from dagsdk import Needs, Transitions
from dagsdk.objectives.parts import BackwardScores, FlowGradient, RewardGradient, Scores
from dagsdk_nabla.nabla_db import NablaDB
from dagsdk_nabla.options import NablaDBOptions

OBJECTIVE = NablaDB(NablaDBOptions(beta=1.0, regulariser=0.0))  # β is the signal of each transition
LEVELS = torch.tensor([0.05, 0.3, 0.6, 0.85, 1.0], dtype=torch.float64)
"""ᾱ of the times, from noise to data: four transitions."""
STEPS = len(LEVELS) - 1
BETA, SHARPNESS = 2.0, 1.5
VARIANCE = 1 / (1 + BETA * SHARPNESS)
"""N(0, 1) exp(β r) with r(x) = -a x²/2 is N(0, 1 / (1 + β a))."""


@frozen(eq=False)
class Kernels:
    """p(x_t' | x_t) = N(gain_k x_t, std_k²), both of shape (T,)."""

    gain: Tensor
    std: Tensor

    def log_prob(self, x_next: Tensor, x_t: Tensor, step: Tensor) -> Tensor:
        """States of shape (n, d) → (n, d)."""
        return Normal(self.gain[step, None] * x_t, self.std[step, None]).log_prob(x_next)


def marginal(variance: float) -> Tensor:
    """The variance of x_t at each time, for data of this variance."""
    return LEVELS * variance + 1 - LEVELS


def exact(variance: float) -> Kernels:
    """p_B(x_t | x_t') p(x_t') / p(x_t), the only kernels that balance the noising kernel N(c x', 1 - c²)."""
    total, ratio = marginal(variance), (LEVELS[:-1] / LEVELS[1:]).sqrt()
    gain = ratio * total[1:] / total[:-1]
    return Kernels(gain, (total[1:] - gain.square() * total[:-1]).sqrt())


REFERENCE = exact(1.0)


def true_flow_gradient(x: Tensor, time: Tensor) -> Tensor:
    """∇ log F̃ = ∇ (log p_t - log p_ref,t), with x of shape (n, d)."""
    return -(1 / marginal(VARIANCE) - 1)[time, None] * x


def reward_gradient(x: Tensor, time: Tensor) -> Tensor:
    """∇_x r(x̂_0(x)), with the reference's x̂_0 = √ᾱ x."""
    return -SHARPNESS * LEVELS[time, None] * x


def forward_looking(x: Tensor, time: Tensor) -> Tensor:
    """R = β ᾱ ∇ r."""
    return BETA * LEVELS[time, None] * reward_gradient(x, time)


def score(kernels: Kernels, x_next: Tensor, x_t: Tensor, step: Tensor, *, by: str, graph: bool = False) -> Tensor:
    """∇ log p(x_t' | x_t) in "next" or "here", by automatic differentiation."""
    x_t, x_next = x_t.detach().requires_grad_(), x_next.detach().requires_grad_()
    total = kernels.log_prob(x_next, x_t, step).sum()
    return torch.autograd.grad(total, x_next if by == "next" else x_t, create_graph=graph)[0]


def transitions(kernels: Kernels, slope: Tensor, n: int = 64, d: int = 3, graph: bool = False) -> Transitions:
    """n transitions, from states far and wide, under a policy and g_φ = slope_k x; slope has shape (T + 1,)."""
    generator = torch.Generator().manual_seed(0)
    step = torch.arange(n) % STEPS
    x_t, x_next = 1.5 * torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(n, dtype=torch.float64)
    return Transitions(
        log_pf=nothing,
        log_pb=nothing,
        log_reward=nothing,
        is_last=step == STEPS - 1,
        step=step,
        signal=nothing + BETA,
        parts={
            Needs.REWARD_GRADIENT: RewardGradient(
                here=reward_gradient(x_t, step),
                next=reward_gradient(x_next, step + 1),
                alpha_bar=LEVELS[step],
                alpha_bar_next=LEVELS[step + 1],
            ),
            Needs.SCORES: Scores(
                next=score(kernels, x_next, x_t, step, by="next", graph=graph),
                next_reference=score(REFERENCE, x_next, x_t, step, by="next"),
            ),
            Needs.BACKWARD_SCORES: BackwardScores(
                here=score(kernels, x_next, x_t, step, by="here"),
                here_reference=score(REFERENCE, x_next, x_t, step, by="here"),
            ),
            Needs.FLOW_GRADIENT: FlowGradient(
                here=slope[step, None] * x_t,
                next=slope[step + 1, None] * x_next,
            ),
        },
    )


def balanced_slope() -> Tensor:
    """What R leaves of ∇ log F̃, at each time; shape (T + 1,)."""
    times, one = torch.arange(STEPS + 1), torch.ones(STEPS + 1, 1, dtype=torch.float64)
    return (true_flow_gradient(one, times) - forward_looking(one, times)).squeeze(1)


def test_losses_are_zero_in_balance_and_only_there() -> None:
    """For any transitions whatever, which is why they need not be the policy's own."""
    slope = balanced_slope()
    assert slope[:-1].abs().min() > 0.01 and slope[-1].abs() < 1e-12  # nothing is left at the end
    loss = OBJECTIVE.loss(transitions(exact(VARIANCE), slope))
    assert loss.values.abs().max() < 1e-20 and loss.metrics["pull"].mean() > 1
    for kernels, wrong in ((REFERENCE, slope), (exact(VARIANCE), 0 * slope), (exact(2 * VARIANCE), slope)):
        assert OBJECTIVE.loss(transitions(kernels, wrong)).values.mean() > 1e-2
    # the right policy for a flow of another reward
    weaker = evolve(transitions(exact(VARIANCE), slope), signal=torch.full((64,), 1.0))
    assert OBJECTIVE.loss(weaker).values.mean() > 1e-2


def test_from_the_reference_training_reaches_the_balance() -> None:
    """Gain and noise of each step, and the slope of g_φ at each time, come out as the closed forms have them."""
    gain, log_std = REFERENCE.gain.clone().requires_grad_(), REFERENCE.std.log().requires_grad_()
    slope = torch.zeros(STEPS + 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([gain, log_std, slope], 0.03)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimiser, 0.997)
    for _ in range(1500):
        loss = OBJECTIVE.loss(transitions(Kernels(gain, log_std.exp()), slope, graph=True))
        optimiser.zero_grad()
        loss.values.mean().backward()
        optimiser.step()
        decay.step()
    target = exact(VARIANCE)
    torch.testing.assert_close(gain.detach(), target.gain, atol=2e-3, rtol=0)
    torch.testing.assert_close(log_std.exp().detach(), target.std, atol=2e-3, rtol=0)
    torch.testing.assert_close(slope.detach(), balanced_slope(), atol=5e-3, rtol=0)
    assert (target.gain - REFERENCE.gain).abs().max() > 0.05
