"""DAG-DB: detailed balance between neighbouring states (arXiv 2406.00633, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.errors import TrainingError
from dagsdk.objectives.beta import beta_at
from dagsdk.objectives.options import DAG_DB_NEEDS, DetailedBalanceOptions, unneeded
from dagsdk.objectives.protocol import Loss, Needs, Signals, Trajectories, Transitions
from dagsdk.objectives.stateless import Stateless


def required(field: Tensor | None, name: str) -> Tensor:
    """The field, or an error that says which one the engine did not fill."""
    if field is None:
        raise TrainingError(f"transitions have no {name}; the objective must name what fills it in `needs`")
    return field


def residual(batch: Transitions, log_pf: Tensor, next_flow_gradient: float = 1.0) -> Tensor:
    """δ = log F(x_t) + log p_F(x_t'|x_t) - log F(x_t') - log p_B(x_t|x_t'), shape (n,).

    next_flow_gradient: share of its gradient that log F(x_t') receives.
    """
    log_flow, log_flow_next = (
        required(batch.log_flow, "log_flow"),
        required(batch.log_flow_next, "log_flow_next"),
    )
    if next_flow_gradient != 1:
        log_flow_next = torch.lerp(log_flow_next.detach(), log_flow_next, next_flow_gradient)
    return log_flow + log_pf - log_flow_next - batch.log_pb


class FlowObjective(Stateless):
    """What DAG-DB and DAG-KL share: the schedule of β, the output regulariser, and having no state."""

    def __init__(self, options: DetailedBalanceOptions, needs: frozenset[Needs]) -> None:
        self.options = options
        self.needs = needs - unneeded(options)

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        return Signals(beta=beta, metrics={"beta": beta})

    def regularised(self, values: Tensor, metrics: dict[str, Tensor], batch: Transitions) -> Loss:
        """Adds λ · mean((ε_θ - ε_old)²), which keeps an update close to the policy that sampled."""
        if not self.options.regulariser:
            return Loss(values=values, metrics=metrics)
        gap = required(batch.output_gap, "output_gap")
        return Loss(values=values + self.options.regulariser * gap, metrics={**metrics, "output_gap": gap.detach()})


class DetailedBalance(FlowObjective):
    """Loss δ² (+ regulariser), with gradients into the policy and into both flow values.

    What of δ varies with x_t' at a given x_t is squared as well, and the flow can lessen it, but only by being flatter
    than it should (the bias of residual gradients, Baird 1995): see `next_flow_gradient`.
    """

    def __init__(self, options: DetailedBalanceOptions | None = None) -> None:
        super().__init__(options or DetailedBalanceOptions(), DAG_DB_NEEDS)

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf, self.options.next_flow_gradient)
        return self.regularised(delta**2, {"residual": delta.detach()}, batch)
