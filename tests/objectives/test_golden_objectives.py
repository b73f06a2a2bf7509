"""DAG-DB and DAG-KL against the reference's numbers, and against their definitions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dagsdk.errors import TrainingError
from dagsdk.objectives.beta import beta_at
from dagsdk.objectives.detailed_balance import DetailedBalance
from dagsdk.objectives.kl import KL, clipped_surrogate, leave_one_out
from dagsdk.objectives.options import DetailedBalanceOptions, KLOptions
from dagsdk.objectives.protocol import Needs, Transitions

CASE = json.loads((Path(__file__).parents[1] / "golden" / "dag_objectives.json").read_text())["case"]
FIELDS = ("log_flow", "log_flow_next", "log_pf", "log_pb", "log_pf_old")


def golden(name: str) -> torch.Tensor:
    return torch.tensor(CASE[name], dtype=torch.float64)


def batch(**changes: torch.Tensor) -> Transitions:
    n = len(CASE["log_pf"])
    zeros = torch.zeros(n, dtype=torch.float64)
    values = {name: golden(name) for name in FIELDS} | {
        "log_reward": zeros,
        "is_last": zeros.bool(),
        "step": zeros.long(),
        "signal": zeros,
        "output_gap": zeros,
    }
    return Transitions(**(values | changes))


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_detailed_balance_matches_the_reference() -> None:
    assert close(DetailedBalance().loss(batch()).values, golden("db_loss"))


def test_kl_matches_the_reference() -> None:
    kl = KL(KLOptions(clip_range=CASE["clip_range"], advantage_clip=CASE["adv_clip"]))
    expected = golden("kl_flow_loss") + golden("kl_policy_loss")
    assert close(kl.loss(batch()).values, expected)


def test_kappa_weighs_the_policy_loss() -> None:
    kl = KL(KLOptions(kappa=0.25, clip_range=CASE["clip_range"]))
    assert close(kl.loss(batch()).values, golden("kl_flow_loss") + 0.25 * golden("kl_policy_loss"))


def test_leave_one_out_matches_the_reference() -> None:
    delta = golden("log_flow") + golden("log_pf") - golden("log_flow_next") - golden("log_pb")
    assert close(leave_one_out(-delta), golden("kl_advantage"))


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_leave_one_out_is_its_definition(n: int) -> None:
    values = torch.linspace(-1, 2, n, dtype=torch.float64) ** 2
    result = leave_one_out(values)
    assert result.isfinite().all()
    if n < 2:
        return
    others = [torch.cat([values[:i], values[i + 1 :]]) for i in range(n)]
    centred = torch.stack([v - o.mean() for v, o in zip(values, others, strict=True)])
    if n > 2:
        squares = [torch.cat([centred[:i], centred[i + 1 :]]).square().mean() for i in range(n)]
        centred = centred / (torch.stack(squares).sqrt() + 1e-8)
    assert close(result, centred)


def test_balance_costs_nothing() -> None:
    flow, pf, pb = (golden(name) for name in ("log_flow", "log_pf", "log_pb"))
    balanced = batch(log_flow_next=flow + pf - pb)
    assert DetailedBalance().loss(balanced).values.abs().max() < 1e-24


def test_detailed_balance_has_gradients_into_policy_and_both_flows() -> None:
    leaves = {name: golden(name).requires_grad_() for name in ("log_pf", "log_flow", "log_flow_next")}
    DetailedBalance().loss(batch(**leaves)).values.sum().backward()
    delta = (leaves["log_flow"] + leaves["log_pf"] - leaves["log_flow_next"] - golden("log_pb")).detach()
    assert close(leaves["log_pf"].grad, 2 * delta)
    assert close(leaves["log_flow"].grad, 2 * delta)
    assert close(leaves["log_flow_next"].grad, -2 * delta)


def test_kl_flow_loss_does_not_move_the_policy() -> None:
    # On policy (ratio 1), the policy's gradient is -A alone: that of the flow loss, 2δ, is cut.
    log_pf = golden("log_pf").requires_grad_()
    KL().loss(batch(log_pf=log_pf, log_pf_old=golden("log_pf"))).values.sum().backward()
    delta = golden("log_flow") + golden("log_pf") - golden("log_flow_next") - golden("log_pb")
    assert close(log_pf.grad, -leave_one_out(-delta).clamp(-5, 5))


def test_surrogate_by_hand() -> None:
    advantage = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    ratio = torch.tensor([1.5, 0.5, 1.5, 0.5], dtype=torch.float64)
    expected = torch.tensor([-1.1, -0.5, 1.5, 0.9], dtype=torch.float64)
    assert close(clipped_surrogate(advantage, ratio.log(), 0.1), expected)


@pytest.mark.parametrize(("objective", "options"), [(DetailedBalance, DetailedBalanceOptions), (KL, KLOptions)])
def test_regulariser_is_added_and_can_be_switched_off(objective: type, options: type) -> None:
    gap = torch.arange(8, dtype=torch.float64)
    plain = objective(options(regulariser=0.0))
    assert Needs.OUTPUT_GAP not in plain.needs
    without = plain.loss(batch(output_gap=None)).values
    assert close(objective(options(regulariser=0.5)).loss(batch(output_gap=gap)).values, without + 0.5 * gap)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(TrainingError, match="log_flow_next"):
        DetailedBalance().loss(batch(log_flow_next=None))


def test_beta_rises_over_the_first_half() -> None:
    rise = [beta_at(100.0, e, 10, 0.5) for e in range(10)]
    assert rise == [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 100.0, 100.0, 100.0, 100.0]
    assert [beta_at(3.0, e, 10, 0.0) for e in range(3)] == [3.0] * 3


def test_there_is_no_state_to_restore() -> None:
    assert DetailedBalance().state_dict() == {}
    with pytest.raises(TrainingError, match="has no state"):
        DetailedBalance().load_state_dict({"x": 1})


@pytest.mark.parametrize(("objective", "options"), [(DetailedBalance, DetailedBalanceOptions), (KL, KLOptions)])
def test_what_is_switched_off_is_not_asked_of_the_engine(objective: type, options: type) -> None:
    assert Needs.FORWARD_LOOKING in objective(options()).needs
    assert Needs.FORWARD_LOOKING not in objective(options(forward_looking=False)).needs
    assert Needs.OUTPUT_GAP not in objective(options(regulariser=0.0)).needs
    assert Needs.FLOW in objective(options(forward_looking=False, regulariser=0.0)).needs


@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
@pytest.mark.parametrize(("kind", "options"), [(DetailedBalance, DetailedBalanceOptions), (KL, KLOptions)])
def test_the_next_flow_receives_its_share_of_the_gradient(kind, options, share: float) -> None:
    leaves = {name: golden(name).requires_grad_() for name in ("log_flow", "log_flow_next")}
    losses = [kind(options(next_flow_gradient=given)).loss(batch(**leaves)).values for given in (share, 1.0)]
    torch.testing.assert_close(*losses)  # the loss itself is the same
    here, there = torch.autograd.grad(losses[0].sum(), list(leaves.values()), allow_unused=True)
    torch.testing.assert_close(there if share else torch.zeros_like(here), -share * here)
