"""DAG-DB and DAG-KL against the reference's numbers, and against their definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dagsdk import Needs, Transitions
from dagsdk.errors import TrainingError
from dagsdk.objectives.detailed_balance import DetailedBalance
from dagsdk.objectives.kl import KL
from dagsdk.objectives.options import DetailedBalanceOptions, KLOptions, dag_db_needs, dag_kl_needs
from dagsdk.objectives.parts import Old, OldOutput, StateFlow
from dagsdk.objectives.toolbox import leave_one_out

CASE = json.loads((Path(__file__).parents[1] / "golden" / "dag_objectives.json").read_text())["case"]
BOTH = pytest.mark.parametrize(("objective", "options"), [(DetailedBalance, DetailedBalanceOptions), (KL, KLOptions)])


def golden(name: str) -> Tensor:
    return torch.tensor(CASE[name], dtype=torch.float64)


ZEROS = torch.zeros_like(golden("log_pf"))


def batch(*, without: Needs | None = None, **changes: Tensor) -> Transitions:
    """The reference's transitions, with changes by the file's names; without the part of one need."""
    names = ("log_pf", "log_pb", "log_pf_old", "log_flow", "log_flow_next")
    values = {name: golden(name) for name in names} | {"output_gap": ZEROS} | changes
    parts: dict[Needs, Any] = {
        Needs.STATE_FLOW: StateFlow(here=values["log_flow"], next=values["log_flow_next"]),
        Needs.OLD: Old(log_pf=values["log_pf_old"]),
        Needs.OLD_OUTPUT: OldOutput(gap=values["output_gap"]),
    }
    return Transitions(
        log_pf=values["log_pf"],
        log_pb=values["log_pb"],
        log_reward=ZEROS,
        is_last=ZEROS.bool(),
        step=ZEROS.long(),
        signal=ZEROS,
        parts={need: part for need, part in parts.items() if need != without},
    )


def delta() -> Tensor:
    return golden("log_flow") + golden("log_pf") - golden("log_flow_next") - golden("log_pb")


def close(a: Tensor, b: Tensor) -> bool:
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
    assert close(leave_one_out(-delta()), golden("kl_advantage"))


def test_balance_costs_nothing() -> None:
    balanced = batch(log_flow_next=golden("log_flow") + golden("log_pf") - golden("log_pb"))
    assert DetailedBalance().loss(balanced).values.abs().max() < 1e-24


def test_detailed_balance_has_gradients_into_policy_and_both_ends_of_the_state_flow() -> None:
    log_pf, here, there = (golden(name).requires_grad_() for name in ("log_pf", "log_flow", "log_flow_next"))
    DetailedBalance().loss(batch(log_pf=log_pf, log_flow=here, log_flow_next=there)).values.sum().backward()
    assert close(log_pf.grad, 2 * delta())
    assert close(here.grad, 2 * delta())
    assert close(there.grad, -2 * delta())


def test_kl_flow_loss_does_not_move_the_policy() -> None:
    # On policy (ratio 1), the policy's gradient is -A alone: that of the flow loss, 2δ, is cut.
    log_pf = golden("log_pf").requires_grad_()
    KL().loss(batch(log_pf=log_pf, log_pf_old=golden("log_pf"))).values.sum().backward()
    assert close(log_pf.grad, -leave_one_out(-delta()).clamp(-5, 5))


@BOTH
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_the_next_flow_receives_its_share_of_the_gradient(objective: Any, options: Any, share: float) -> None:
    leaves = [golden(name).requires_grad_() for name in ("log_pf", "log_flow", "log_flow_next")]
    given = batch(log_pf=leaves[0], log_flow=leaves[1], log_flow_next=leaves[2])
    part, whole = (objective(options(next_gradient=amount)).loss(given).values for amount in (share, 1.0))
    assert torch.equal(part, whole)  # the loss itself is the same
    expected = torch.autograd.grad(whole.sum(), leaves)
    found = torch.autograd.grad(part.sum(), leaves, allow_unused=True, materialize_grads=True)
    assert expected[2].abs().min() > 0
    assert close(found[2], share * expected[2])
    assert all(torch.equal(a, b) for a, b in zip(found[:2], expected[:2], strict=True))


@BOTH
def test_regulariser_is_added_and_can_be_switched_off(objective: Any, options: Any) -> None:
    gap = torch.arange(len(ZEROS), dtype=torch.float64)
    without = objective(options(regulariser=0.0)).loss(batch(without=Needs.OLD_OUTPUT)).values
    assert close(objective(options(regulariser=0.5)).loss(batch(output_gap=gap)).values, without + 0.5 * gap)


@BOTH
@pytest.mark.parametrize("need", [Needs.STATE_FLOW, Needs.OLD_OUTPUT])
def test_a_missing_part_is_named(objective: Any, options: Any, need: Needs) -> None:
    with pytest.raises(TrainingError, match=rf"does not need {need.name}; add Needs\.{need.name} to"):
        objective(options()).loss(batch(without=need))


def test_needs_follow_the_options() -> None:
    flow = {Needs.STATE_FLOW}
    assert dag_db_needs(DetailedBalanceOptions()) == flow | {Needs.FORWARD_LOOKING, Needs.OLD_OUTPUT}
    assert dag_db_needs(DetailedBalanceOptions(forward_looking=False)) == flow | {Needs.OLD_OUTPUT}
    assert dag_db_needs(DetailedBalanceOptions(regulariser=0.0)) == flow | {Needs.FORWARD_LOOKING}
    assert dag_kl_needs(KLOptions(forward_looking=False, regulariser=0.0)) == flow | {Needs.OLD}
