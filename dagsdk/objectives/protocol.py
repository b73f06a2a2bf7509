"""What an objective is: batches in, one loss per row out. The engine computes only what it needs.

An objective never meets a network. It sees tensors, and can be tested with five numbers by hand. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import Factory, evolve, frozen

from dagsdk.objectives.parts import (
    BackwardScores,
    FlowGradient,
    Needs,
    Old,
    OldOutput,
    Parted,
    Reference,
    RewardGradient,
    Scores,
    StateFlow,
)

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.objectives.trajectories import Trajectories


@frozen(kw_only=True, eq=False)
class Signals:
    """What `prepare` works out once per epoch.

    beta: β, which the engine multiplies rewards by, in `log_reward` and in forward-looking state flows.
    values: shape (b,), one constant weight per trajectory (an advantage, a residual), or (b, T), one per transition;
        comes back as the `signal` of a batch. None stands for zeros.
    metrics: numbers for this epoch's line.
    """

    beta: float = 1.0
    values: Tensor | None = None
    metrics: Mapping[str, float] = Factory(dict)

    def part(self, rows: slice | Tensor) -> Signals:
        """Those of the trajectories in these rows."""
        return self if self.values is None else evolve(self, values=self.values[rows])

    def of(self, sample: Tensor, step: Tensor, like: Tensor) -> Tensor:
        """The values of n (sample, step) pairs: shape (n,), zeros of the dtype of `like` where there are none."""
        if self.values is None:
            return like.new_zeros(len(sample))
        return self.values[sample] if self.values.ndim == 1 else self.values[sample, step]


@frozen(kw_only=True, eq=False)
class Transitions(Parted):
    """n transitions x_t → x_t', any mix of trajectories and steps. All fields have shape (n,).

    log_pf: log p_F(x_t' | x_t) of the current policy, float32, with gradient.
    log_pb: log p_B(x_t | x_t') of the noising kernel, float32.
    log_reward: β r(x_0) of the transition's trajectory, float32.
    is_last: bool, whether x_t' is the end of the trajectory.
    step: int64, k = 0..T-1 from noise to image.
    signal: what `prepare` gave for the trajectory, or for the transition.

    What an objective needs beyond these comes in parts (`dagsdk.objectives.parts`).
    """

    log_pf: Tensor
    log_pb: Tensor
    log_reward: Tensor
    is_last: Tensor
    step: Tensor
    signal: Tensor

    @property
    def state_flow(self) -> StateFlow:
        """log F at both ends (STATE_FLOW)."""
        return self._part(Needs.STATE_FLOW, StateFlow, "state_flow")

    @property
    def old(self) -> Old:
        """The policy that sampled (OLD)."""
        return self._part(Needs.OLD, Old, "old")

    @property
    def old_output(self) -> OldOutput:
        """How far the output moved since sampling (OLD_OUTPUT)."""
        return self._part(Needs.OLD_OUTPUT, OldOutput, "old_output")

    @property
    def reference(self) -> Reference:
        """The model before training (REFERENCE)."""
        return self._part(Needs.REFERENCE, Reference, "reference")

    @property
    def scores(self) -> Scores:
        """∇ log p_F in x_t' (SCORES)."""
        return self._part(Needs.SCORES, Scores, "scores")

    @property
    def backward_scores(self) -> BackwardScores:
        """∇ log p_F in x_t (BACKWARD_SCORES)."""
        return self._part(Needs.BACKWARD_SCORES, BackwardScores, "backward_scores")

    @property
    def reward_gradient(self) -> RewardGradient:
        """∇ r at both ends (REWARD_GRADIENT)."""
        return self._part(Needs.REWARD_GRADIENT, RewardGradient, "reward_gradient")

    @property
    def flow_gradient(self) -> FlowGradient:
        """g_φ at both ends (FLOW_GRADIENT)."""
        return self._part(Needs.FLOW_GRADIENT, FlowGradient, "flow_gradient")


@frozen(kw_only=True, eq=False)
class Denoisings(Parted):
    """n images noised afresh, x_t = α x_0 + σ ε, and what the network makes of them: the forward process.

    Of shape (n, *latent), float32:

    output: the network's conditional output at x_t, without guidance, with gradient.
    target: what it should be: ε, v = α ε - σ x_0, x_0, or ε - x_0, by the model's kind of prediction.
    noise: ε.
    x_t: the noised image.
    output_old, output_reference: the same output by the weights that sampled (OLD_OUTPUT) and by the model before
        training (REFERENCE), at the same x_t, without gradient.

    Of shape (n,):

    alpha, sigma: α and σ of its time, float32.
    signal: what `prepare` gave for the image.
    log_reward: β r(x_0), float32.
    group: int64, images with the same number share a prompt.
    """

    output: Tensor
    target: Tensor
    noise: Tensor
    x_t: Tensor
    alpha: Tensor
    sigma: Tensor
    signal: Tensor
    log_reward: Tensor
    group: Tensor

    @property
    def output_old(self) -> Tensor:
        from torch import Tensor

        return self._part(Needs.OLD_OUTPUT, Tensor, "output_old")

    @property
    def output_reference(self) -> Tensor:
        from torch import Tensor

        return self._part(Needs.REFERENCE, Tensor, "output_reference")


@frozen(kw_only=True, eq=False)
class Loss:
    """values: one loss per row, shape (n,), float32, with gradient. metrics: tensors of shape (n,) or ()."""

    values: Tensor
    metrics: Mapping[str, Tensor] = Factory(dict)


@runtime_checkable
class Objective(Protocol):
    """Turns batches into losses. Anything it remembers from epoch to epoch is in its state.

    What it needs, and which kind of batch it trains on, is said once, by its `dagsdk.ObjectiveSpec`.
    """

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        """Once per epoch, without gradient, on the trajectories of all processes: β, advantages, residuals."""

    def loss(self, batch: Any, /) -> Loss:
        """Once per micro-batch: `Transitions`, or `Denoisings` on the forward process."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: nested dicts and lists of tensors, numbers, strings."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continues from what `state_dict` gave."""
