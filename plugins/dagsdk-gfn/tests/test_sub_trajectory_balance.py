"""SubTB(λ) against closed forms and against autograd on the loss over all pieces, written as it stands in the paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor
from torch.distributions import Normal

from dagsdk import Needs, Signals, Trajectories, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import StateFlow, StateFlowPath
from dagsdk.objectives.trajectories import along
from dagsdk.testing.trajectories import trajectories
from dagsdk_gfn.options import SubTrajectoryBalanceOptions, subtb_needs
from dagsdk_gfn.sub_trajectory_balance import SubTrajectoryBalance, pieces

B, T, BETA = 9, 6, 2.5


def naive_loss(log_flow: Tensor, log_pf: Tensor, log_pb: Tensor, lam: float) -> Tensor:
    """Mean over trajectories of Σ λ^(n-m) A_mn² / Σ λ^(n-m). log_flow: (b, T + 1); the others (b, T)."""
    steps, total, weights = log_pf.shape[1], torch.zeros(len(log_pf), dtype=torch.float64), 0.0
    for m in range(steps):
        for n in range(m + 1, steps + 1):
            piece = log_flow[:, m] + (log_pf - log_pb)[:, m:n].sum(1) - log_flow[:, n]
            total = total + lam ** (n - m) * piece.square()
            weights += lam ** (n - m)
    return (total / weights).mean()


class Model:
    """x' ~ N(a_k x + c_k, 0.7²), and log F̃(x, k) = u_k x² + v_k x + w_k: five numbers per step, in float64."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.policy = torch.randn(2, T, generator=generator, dtype=torch.float64).requires_grad_()
        self.flow = torch.randn(3, T, generator=generator, dtype=torch.float64).requires_grad_()

    @property
    def weights(self) -> tuple[Tensor, Tensor]:
        return self.policy, self.flow

    def log_pf(self, states: Tensor) -> Tensor:
        """states: (b, T + 1) → (b, T)."""
        scale, shift = self.policy
        return Normal(scale * states[:, :-1] + shift, 0.7).log_prob(states[:, 1:])

    def log_flow(self, states: Tensor) -> Tensor:
        """(b, T + 1) → (b, T + 1), 0 at the end."""
        u, v, w = self.flow
        before = states[:, :-1]
        return torch.cat([u * before**2 + v * before + w, torch.zeros_like(states[:, :1])], 1)


def paths() -> Tensor:
    return torch.randn(B, T + 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def sampled(model: Model, states: Tensor) -> Trajectories:
    """Trajectories in float64 with the model's log p_F, and its log F̃ as the network's."""
    drawn = along(double, trajectories(3, 3, steps=T, seed=1))
    return with_network(evolve(drawn, log_pf_old=model.log_pf(states).detach()), model.log_flow(states).detach())


def with_network(here: Trajectories, network: Tensor) -> Trajectories:
    """The same trajectories with another log F̃, shape (b, T + 1)."""
    return evolve(here, parts={Needs.STATE_FLOW_PATH: StateFlowPath(network, here.state_flow.potential)})


def every_transition(signals: Signals, here: Trajectories, log_pf: Tensor, network: Tensor) -> Transitions:
    """All transitions, trajectory after trajectory, as the engine fills them: log F = log F̃ + β · potential."""
    whole = network + signals.beta * here.state_flow.potential
    assert signals.values is not None and signals.values.shape == (B, T)
    last = torch.arange(T) == T - 1
    return Transitions(
        log_pf=log_pf.flatten(),
        log_pb=here.log_pb.flatten(),
        log_reward=(signals.beta * here.rewards).repeat_interleave(T),
        is_last=last.repeat(B),
        step=torch.arange(T).repeat(B),
        signal=signals.values.flatten(),
        parts={Needs.STATE_FLOW: StateFlow(here=whole[:, :-1].flatten(), next=whole[:, 1:].flatten())},
    )


@pytest.mark.parametrize("lam", [0.05, 0.9, 1.0, 3.0])
def test_the_gradient_is_that_of_the_loss_over_all_pieces(lam: float) -> None:
    model, states = Model(), paths()
    here = sampled(model, states)
    log_flow = model.log_flow(states) + BETA * here.state_flow.potential
    whole = naive_loss(log_flow, model.log_pf(states), here.log_pb, lam)
    expected = torch.autograd.grad(whole, model.weights)

    objective = SubTrajectoryBalance(SubTrajectoryBalanceOptions(beta=BETA, lam=lam))
    signals = objective.prepare(here)
    assert signals.metrics["subtrajectory"] == pytest.approx(whole.item(), rel=1e-9)
    batch = every_transition(signals, here, model.log_pf(states), model.log_flow(states))
    gradient = torch.autograd.grad(objective.loss(batch).values.mean(), model.weights)
    for found, true in zip(gradient, expected, strict=True):
        assert true.abs().max() > 1e-2
        torch.testing.assert_close(found, true, rtol=1e-9, atol=1e-9)


def test_micro_batches_add_up_to_the_same_gradient() -> None:
    model, states, objective = Model(), paths(), SubTrajectoryBalance()
    here = sampled(model, states)
    batch = every_transition(objective.prepare(here), here, model.log_pf(states), model.log_flow(states))
    whole = torch.autograd.grad(objective.loss(batch).values.mean(), model.weights, retain_graph=True)
    total = [torch.zeros_like(one) for one in whole]
    for rows in torch.randperm(B * T, generator=torch.Generator().manual_seed(3)).split(7):
        part = along(lambda value, rows=rows: value[rows], batch)
        loss = objective.loss(part).values.sum() / (B * T)
        for one, more in zip(total, torch.autograd.grad(loss, model.weights, retain_graph=True), strict=True):
            one += more
    for one, true in zip(total, whole, strict=True):
        torch.testing.assert_close(one, true, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("lam", [1e-3, 0.9, 10.0])
def test_in_balance_there_is_no_signal(lam: float) -> None:
    """F(x_k) p_F = F(x_k+1) p_B at every step, up to the reward at the end."""
    model, states = Model(), paths()
    here = sampled(model, states)
    gaps = (here.log_pb - here.log_pf_old).flip(1).cumsum(1).flip(1)  # log F(x_k) - β r(x_0)
    flow = BETA * here.rewards[:, None] + torch.cat([gaps, torch.zeros(B, 1)], 1) - BETA * here.state_flow.potential
    options = SubTrajectoryBalanceOptions(beta=BETA, lam=lam)
    signals = SubTrajectoryBalance(options).prepare(with_network(here, flow))
    assert signals.values is not None and signals.values.abs().max() < 1e-10
    assert abs(signals.metrics["subtrajectory"]) < 1e-20
    moved = SubTrajectoryBalance(options).prepare(with_network(here, flow + torch.tensor([0.0] * T + [1.0])))
    assert moved.metrics["subtrajectory"] > 1e-6


# --- the weights of pieces ---


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("lam", [0.01, 0.5, 1.0, 2.0, 10.0])
def test_pieces_by_a_double_loop(steps: int, lam: float) -> None:
    expected = torch.zeros(steps, steps, dtype=torch.float64)
    total = sum(lam ** (n - m) for m in range(steps) for n in range(m + 1, steps + 1))
    for m in range(steps):
        for n in range(m + 1, steps + 1):
            expected[m:n, m:n] += lam ** (n - m) / total
    torch.testing.assert_close(pieces(steps, lam), expected, rtol=1e-12, atol=1e-15)


def test_the_ends_of_lambda_are_detailed_and_trajectory_balance() -> None:
    torch.testing.assert_close(pieces(5, 1e-12), torch.eye(5, dtype=torch.float64) / 5, rtol=0, atol=1e-10)
    torch.testing.assert_close(pieces(5, 1e12), torch.ones(5, 5, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("lam", [1e-6, 0.9, 10.0])
def test_one_step_has_one_piece(lam: float) -> None:
    assert pieces(1, lam).item() == pytest.approx(1)


@pytest.mark.parametrize("lam", [1e-300, 0.9, 1.0, 10.0])
@pytest.mark.parametrize("steps", [200, 1000])
def test_many_steps_are_finite_and_positive(steps: int, lam: float) -> None:
    matrix = pieces(steps, lam)
    assert matrix.isfinite().all() and (matrix >= 0).all() and matrix.max() <= 1 + 1e-9
    assert torch.equal(matrix, matrix.T)
    if steps == 200:
        assert torch.linalg.eigvalsh(matrix).min() > -1e-12  # a sum of squares


# --- in an epoch ---


def test_for_small_lambda_it_is_detailed_balance() -> None:
    model, states = Model(), paths()
    here = sampled(model, states)
    signals = SubTrajectoryBalance(SubTrajectoryBalanceOptions(beta=BETA, lam=1e-12)).prepare(here)
    log_flow = here.state_flow.network + BETA * here.state_flow.potential
    delta = log_flow[:, :-1] + here.log_pf_old - log_flow[:, 1:] - here.log_pb
    torch.testing.assert_close(signals.values, 2 * delta)  # the factor of ∇δ in ∇δ²
    assert signals.metrics["subtrajectory"] == pytest.approx(float(delta.square().mean()))


def test_extremes_of_an_epoch_are_finite() -> None:
    large = trajectories(2, 2, steps=100, seed=0, large=True)
    signals = SubTrajectoryBalance(SubTrajectoryBalanceOptions(beta=100.0, lam=10.0)).prepare(large)
    assert signals.values is not None and signals.values.isfinite().all()


def test_trajectories_in_another_order_have_the_same_signals() -> None:
    here, order = sampled(Model(), paths()), torch.randperm(B, generator=torch.Generator().manual_seed(0))
    there = SubTrajectoryBalance().prepare(here.part(order))
    torch.testing.assert_close(there.values, SubTrajectoryBalance().prepare(here).values[order])


def test_beta_rises() -> None:
    options = SubTrajectoryBalanceOptions(beta=4.0, beta_warmup=0.5)
    for epoch, beta in ((0, 0.0), (2, 1.6), (5, 4.0), (9, 4.0)):
        signals = SubTrajectoryBalance(options).prepare(evolve(sampled(Model(), paths()), epoch=epoch, epochs=10))
        assert signals.beta == signals.metrics["beta"] == pytest.approx(beta)


def test_no_graph_spans_two_steps() -> None:
    """A loss reaches the log-densities of its own transition only, and nothing remains of an epoch."""
    model, states, objective = Model(), paths(), SubTrajectoryBalance()
    here = sampled(model, states)
    signals = objective.prepare(here)
    log_pf = torch.zeros(B, T, dtype=torch.float64, requires_grad=True)
    values = objective.loss(every_transition(signals, here, log_pf, here.state_flow.network)).values
    (gradient,) = torch.autograd.grad(values[5], log_pf)
    assert gradient.count_nonzero() == 1
    assert signals.values is not None and not signals.values.requires_grad
    assert set(vars(objective)) == {"options"} and objective.state_dict() == {}


def test_states_are_decoded_only_when_looking_forward() -> None:
    needs = {Needs.STATE_FLOW, Needs.STATE_FLOW_PATH}
    assert subtb_needs(SubTrajectoryBalanceOptions()) == needs | {Needs.FORWARD_LOOKING}
    assert subtb_needs(SubTrajectoryBalanceOptions(forward_looking=False)) == needs


def test_without_the_state_flow_of_the_path_it_says_what_is_missing() -> None:
    with pytest.raises(TrainingError, match=r"no `state_flow`.*Needs\.STATE_FLOW_PATH"):
        SubTrajectoryBalance().prepare(evolve(sampled(Model(), paths()), parts={}))


def test_a_state_of_something_else_is_refused() -> None:
    with pytest.raises(TrainingError, match="has no state"):
        SubTrajectoryBalance().load_state_dict({"log_z": 1.0})


@pytest.mark.parametrize("wrong", [{"beta": 0.0}, {"beta_warmup": 1.5}, {"lam": 0.0}, {"lam": 11.0}])
def test_options_have_ranges(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SubTrajectoryBalanceOptions(**wrong)
