"""How much of its gradient the next flow receives: a share, and nothing else changes."""

from __future__ import annotations

import pytest
import torch

from dagsdk.objectives.detailed_balance import DetailedBalance
from dagsdk.objectives.kl import KL
from dagsdk.objectives.options import DetailedBalanceOptions, KLOptions
from dagsdk.objectives.protocol import Objective, Transitions


def objective(kind: str, share: float) -> Objective:
    if kind == "dag-db":
        return DetailedBalance(DetailedBalanceOptions(regulariser=0.0, next_flow_gradient=share))
    return KL(KLOptions(regulariser=0.0, next_flow_gradient=share))


def values_and_gradients(kind: str, share: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    log_pf, log_pb, log_flow, log_flow_next = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    leaves = {"log_pf": log_pf, "log_flow": log_flow, "log_flow_next": log_flow_next}
    batch = Transitions(
        **{name: leaf.requires_grad_() for name, leaf in leaves.items()},
        log_pb=log_pb,
        log_pf_old=log_pf.detach() - 0.1,
        log_reward=torch.zeros(7),
        is_last=torch.zeros(7, dtype=torch.bool),
        step=torch.zeros(7, dtype=torch.int64),
        signal=torch.zeros(7),
    )
    values = objective(kind, share).loss(batch).values
    gradients = torch.autograd.grad(values.sum(), list(leaves.values()), allow_unused=True)
    found = (torch.zeros(7) if g is None else g for g in gradients)
    return values.detach(), dict(zip(leaves, found, strict=True))


@pytest.mark.parametrize("kind", ["dag-db", "dag-kl"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_next_flow_receives_its_share(kind: str, share: float) -> None:
    whole, expected = values_and_gradients(kind, 1.0)
    values, gradients = values_and_gradients(kind, share)
    torch.testing.assert_close(values, whole)
    torch.testing.assert_close(gradients["log_flow_next"], share * expected["log_flow_next"], check_dtype=False)
    for name in ("log_pf", "log_flow"):
        torch.testing.assert_close(gradients[name], expected[name])
    assert expected["log_flow_next"].abs().min() > 0
