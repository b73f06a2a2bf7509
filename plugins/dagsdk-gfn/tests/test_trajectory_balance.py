"""Both objectives against closed forms and against autograd on the loss of whole trajectories."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor
from torch.distributions import Normal

from dagsdk import Needs, Prompt, Signals, Trajectories, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import ReferencePath
from dagsdk.objectives.trajectories import along
from dagsdk.testing.trajectories import trajectories
from dagsdk_gfn import dagsdk_objectives
from dagsdk_gfn.options import TrajectoryBalanceOptions
from dagsdk_gfn.trajectory_balance import RelativeTrajectoryBalance, TrajectoryBalance

BOTH = pytest.mark.parametrize("kind", [TrajectoryBalance, RelativeTrajectoryBalance])
T = 6


def double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def sampled(prompts: int = 3, images: int = 4, reference: Tensor | None = None, **changes: Any) -> Trajectories:
    """Trajectories in float64; reference: their log p_ref, shape (b, T)."""
    drawn = evolve(along(double, trajectories(prompts, images, steps=T, seed=1)), **changes)
    return drawn if reference is None else evolve(drawn, parts={Needs.REFERENCE_PATH: ReferencePath(reference)})


def every_transition(signals: Signals, log_pf: Tensor) -> Transitions:
    """All transitions of an epoch, trajectory after trajectory; log_pf has shape (b, T)."""
    flat = log_pf.flatten()
    assert signals.values is not None
    nothing = torch.zeros_like(flat.detach())
    return Transitions(
        log_pf=flat,
        log_pb=nothing,
        log_reward=nothing,
        is_last=nothing.bool(),
        step=torch.arange(log_pf.shape[1]).repeat(len(log_pf)),
        signal=signals.values.repeat_interleave(log_pf.shape[1]),
    )


class LinearPolicy:
    """x' ~ N(a_k x + c_k, 0.7²) with one number of each per step, in float64."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weights = torch.randn(2, T, generator=generator, dtype=torch.float64).requires_grad_()

    def log_pf(self, states: Tensor) -> Tensor:
        """states: (b, T + 1) → (b, T)."""
        scale, shift = self.weights
        return Normal(scale * states[:, :-1] + shift, 0.7).log_prob(states[:, 1:])


@BOTH
@pytest.mark.parametrize("group", ["prompt", "epoch"])
def test_the_gradient_is_that_of_the_loss_of_whole_trajectories(kind: Any, group: Any) -> None:
    policy, reference = LinearPolicy(0), LinearPolicy(1)
    states = torch.randn(12, T + 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    log_pf = policy.log_pf(states)
    here = sampled(log_pf_old=log_pf.detach(), reference=reference.log_pf(states).detach())
    beta = 2.5

    # the loss as it stands in the papers, differentiated through means and over all steps at once
    d = log_pf.sum(1) - beta * here.rewards
    if kind is TrajectoryBalance:
        d = d + here.log_prior - here.log_pb.sum(1)
    else:
        d = d - here.reference.log_pf.sum(1)
    parts = d.view(3, 4) if group == "prompt" else d.view(1, 12)
    whole = (parts - parts.mean(1, keepdim=True)).square().mean()
    (expected,) = torch.autograd.grad(whole, policy.weights)

    objective = kind(TrajectoryBalanceOptions(beta=beta, group=group))
    batch = every_transition(objective.prepare(here), policy.log_pf(states))
    (gradient,) = torch.autograd.grad(objective.loss(batch).values.mean(), policy.weights)
    assert expected.abs().min() > 1e-3
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


@BOTH
def test_micro_batches_add_up_to_the_same_gradient(kind: Any) -> None:
    policy, objective = LinearPolicy(0), kind()
    states = torch.randn(12, T + 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    here = sampled(log_pf_old=policy.log_pf(states).detach())
    batch = every_transition(objective.prepare(here), policy.log_pf(states))
    (whole,) = torch.autograd.grad(objective.loss(batch).values.mean(), policy.weights, retain_graph=True)
    total = torch.zeros_like(whole)
    order = torch.randperm(12 * T, generator=torch.Generator().manual_seed(3))
    for rows in order.split(7):
        part = along(lambda value, rows=rows: value[rows], batch)
        total += torch.autograd.grad(objective.loss(part).values.sum() / (12 * T), policy.weights, retain_graph=True)[0]
    torch.testing.assert_close(total, whole, rtol=1e-9, atol=1e-12)


def balanced(kind: Any, constants: Tensor) -> Trajectories:
    """Trajectories with d equal to `constants`, shape (b,), at β = 2."""
    here = sampled()
    rest = here.log_pf_old.sum(1)
    if kind is TrajectoryBalance:
        rest = rest + here.log_prior - here.log_pb.sum(1)
    else:
        rest = rest - here.reference.log_pf.sum(1)
    return evolve(here, rewards=(rest - constants) / 2)


@BOTH
def test_where_every_prompt_is_balanced_there_is_no_signal(kind: Any) -> None:
    """d = -log Z(c): constant for a prompt, and another constant for another."""
    here = balanced(kind, torch.tensor([1.0, -2.0, 5.0], dtype=torch.float64).repeat_interleave(4))
    by_prompt = kind(TrajectoryBalanceOptions(beta=2.0)).prepare(here)
    assert by_prompt.values.abs().max() < 1e-12
    assert by_prompt.metrics["residual_variance"] < 1e-24
    assert by_prompt.metrics["log_z"] == pytest.approx(-4 / 3)
    by_epoch = kind(TrajectoryBalanceOptions(beta=2.0, group="epoch")).prepare(here)
    assert by_epoch.metrics["residual_variance"] == pytest.approx((1 + 100 + 121) / 27)  # about 4 / 3


@BOTH
def test_signals_by_hand(kind: Any) -> None:
    d = torch.tensor([1.0, 3, 5, 7, 0, 0, 0, 8, 2, 2, 2, 2], dtype=torch.float64)
    centred = torch.tensor([-3.0, -1, 1, 3, -2, -2, -2, 6, 0, 0, 0, 0], dtype=torch.float64)
    signals = kind(TrajectoryBalanceOptions(beta=2.0)).prepare(balanced(kind, d))
    torch.testing.assert_close(signals.values, 2 * T * centred)
    assert signals.metrics["residual_variance"] == pytest.approx((9 + 1 + 1 + 9 + 4 * 3 + 36) / 12)
    clipped = kind(TrajectoryBalanceOptions(beta=2.0, residual_clip=2.5)).prepare(balanced(kind, d))
    torch.testing.assert_close(clipped.values, 2 * T * centred.clamp(-2.5, 2.5))
    assert clipped.metrics["clipped"] == pytest.approx(3 / 12)
    assert clipped.metrics["residual_variance"] == signals.metrics["residual_variance"]


@BOTH
def test_trajectories_in_another_order_have_the_same_signals(kind: Any) -> None:
    here, order = sampled(), torch.randperm(12, generator=torch.Generator().manual_seed(0))
    there = here.part(order)
    torch.testing.assert_close(kind().prepare(there).values, kind().prepare(here).values[order])


def test_a_prompt_that_an_epoch_draws_twice_is_one_group() -> None:
    here = sampled(2, 3)
    again = evolve(here, prompts=(Prompt("a"),) * 6)
    whole = TrajectoryBalance(TrajectoryBalanceOptions(group="epoch")).prepare(again)
    torch.testing.assert_close(TrajectoryBalance().prepare(again).values, whole.values)
    assert not torch.allclose(TrajectoryBalance().prepare(here).values, whole.values)


@BOTH
def test_one_image_per_prompt_cannot_be_compared(kind: Any) -> None:
    alone = sampled(3, 1)
    with pytest.raises(TrainingError, match=r"rollout\.images_per_prompt >= 2"):
        kind().prepare(alone)
    kind(TrajectoryBalanceOptions(group="epoch")).prepare(alone)


@pytest.mark.parametrize(("name", "needs"), [("tb", set()), ("relative-tb", {Needs.REFERENCE_PATH})])
def test_the_record_says_what_is_needed_and_compared(name: str, needs: set[Needs]) -> None:
    (spec,) = (spec for spec in dagsdk_objectives() if spec.name == name)
    by_prompt, by_epoch = TrajectoryBalanceOptions(), TrajectoryBalanceOptions(group="epoch")
    assert spec.needs_of(by_prompt) == spec.needs_of(by_epoch) == needs
    assert spec.compares(by_prompt) and not spec.compares(by_epoch)
    assert spec.off_policy


def test_without_the_reference_path_it_says_what_is_missing() -> None:
    with pytest.raises(TrainingError, match=r"no `reference`.*Needs\.REFERENCE_PATH"):
        RelativeTrajectoryBalance().prepare(evolve(sampled(), parts={}))


@BOTH
def test_beta_rises_and_moves_the_residual(kind: Any) -> None:
    options = TrajectoryBalanceOptions(beta=4.0, beta_warmup=0.5, group="epoch")
    for epoch, beta in ((0, 0.0), (2, 1.6), (5, 4.0), (9, 4.0)):
        here = evolve(sampled(), epoch=epoch, epochs=10)
        signals = kind(options).prepare(here)
        assert signals.beta == signals.metrics["beta"] == pytest.approx(beta)
        without = kind(options).prepare(evolve(here, rewards=torch.zeros_like(here.rewards)))
        moved = -beta * (here.rewards - here.rewards.mean())
        torch.testing.assert_close(signals.values - without.values, 2 * T * moved)


@BOTH
def test_no_graph_spans_two_steps(kind: Any) -> None:
    """A loss reaches the log-densities of its own transition only, and nothing remains of an epoch."""
    objective = kind()
    signals = objective.prepare(sampled())
    log_pf = torch.zeros(12, T, dtype=torch.float64, requires_grad=True)
    values = objective.loss(every_transition(signals, log_pf)).values
    (gradient,) = torch.autograd.grad(values[5], log_pf)
    assert gradient.count_nonzero() == 1
    assert not signals.values.requires_grad and signals.values.shape == (12,)
    assert set(vars(objective)) == {"options"} and objective.state_dict() == {}


@BOTH
def test_a_state_of_something_else_is_refused(kind: Any) -> None:
    with pytest.raises(TrainingError, match="has no state"):
        kind().load_state_dict({"baseline": 1.0})


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta_warmup": 1.5}, {"residual_clip": -1.0}])
def test_options_have_ranges(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrajectoryBalanceOptions(**wrong)
