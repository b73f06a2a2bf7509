"""DAG-DB: detailed balance between neighbouring states (arXiv 2406.00633, section 3.1)."""

from __future__ import annotations

from torch import Tensor

from dagsdk.objectives.options import DetailedBalanceOptions
from dagsdk.objectives.protocol import Loss, Signals, Transitions
from dagsdk.objectives.toolbox import Stateless, beta_at, residual
from dagsdk.objectives.trajectories import Trajectories


class StateFlowObjective(Stateless):
    """What DAG-DB and DAG-KL share: the schedule of β, the output regulariser, and having no state."""

    def __init__(self, options: DetailedBalanceOptions) -> None:
        self.options = options

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        options = self.options
        beta = beta_at(options.beta, trajectories.epoch, trajectories.epochs, options.beta_warmup)
        return Signals(beta=beta, metrics={"beta": beta})

    def regularised(self, values: Tensor, metrics: dict[str, Tensor], batch: Transitions) -> Loss:
        """Adds λ · mean((ε_θ - ε_old)²), which keeps an update close to the policy that sampled."""
        if not self.options.regulariser:
            return Loss(values=values, metrics=metrics)
        gap = batch.old_output.gap
        return Loss(values=values + self.options.regulariser * gap, metrics={**metrics, "output_gap": gap.detach()})


class DetailedBalance(StateFlowObjective):
    """Loss δ² (+ regulariser), with gradients into the policy and into both ends of the state flow.

    What of δ varies with x_t' at a given x_t is squared as well, and the state flow can lessen it, but only by being
    flatter than it should (the bias of residual gradients, Baird 1995): see `next_gradient`.
    """

    def __init__(self, options: DetailedBalanceOptions | None = None) -> None:
        super().__init__(options or DetailedBalanceOptions())

    def loss(self, batch: Transitions, /) -> Loss:
        delta = residual(batch, batch.log_pf, self.options.next_gradient)
        return self.regularised(delta**2, {"residual": delta.detach()}, batch)
