"""DAG-DB: detailed balance between neighbouring states (arXiv 2406.00633, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dagsdk.errors import TrainingError
from dagsdk.objectives.beta import beta_at
from dagsdk.objectives.options import DAG_DB_NEEDS, DetailedBalanceOptions
from dagsdk.objectives.protocol import Loss, Needs, Signals, Trajectories, Transitions


def required(field: Tensor | None, name: str) -> Tensor:
    """The field, or an error that says which one the engine did not fill."""
    if field is None:
        raise TrainingError(f"transitions have no {name}; the objective must name what fills it in `needs`")
    return field


def residual(batch: Transitions, log_pf: Tensor) -> Tensor:
    """δ = log F(x_t) + log p_F(x_t'|x_t) - log F(x_t') - log p_B(x_t|x_t'), shape (n,)."""
    log_flow, log_flow_next = (
        required(batch.log_flow, "log_flow"),
        required(batch.log_flow_next, "log_flow_next"),
    )
    return log_flow + log_pf - log_flow_next - batch.log_pb


class FlowObjective:
    """What DAG-DB and DAG-KL share: the schedule of β, the output regulariser, and having no state."""

    def __init__(self, options: DetailedBalanceOptions, needs: frozenset[Needs]) -> None:
        self.options = options
        # What is switched off is not asked for, so that the engine keeps no outputs, and scores no states.
        unused = {Needs.OUTPUT_GAP} if not options.regulariser else set()
        unused |= {Needs.FORWARD_LOOKING} if not options.forward_looking else set()
        self.needs = needs - unused

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

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        if state:
            raise TrainingError(f"{type(self).__name__} has no state, but was given {sorted(state)} to restore")


class DetailedBalance(FlowObjective):
    """Loss δ² (+ regulariser), with gradients into the policy and into both flow values."""

    def __init__(self, options: DetailedBalanceOptions | None = None) -> None:
        super().__init__(options or DetailedBalanceOptions(), DAG_DB_NEEDS)

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf)
        return self.regularised(delta**2, {"residual": delta.detach()}, batch)
