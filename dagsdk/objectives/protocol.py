"""What an objective is: transitions in, one loss a transition out. The engine computes only what it needs.

An objective never meets a network. It sees tensors of shape (n,) and can be tested with five numbers by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from attrs import Factory, frozen

from dagsdk.prompts.protocol import Prompt

if TYPE_CHECKING:
    from torch import Tensor


class Needs(Enum):
    """What the engine computes for an objective that asks for it, and the fields of `Transitions` it fills."""

    FLOW = "flow"
    """A flow network is trained: `log_flow`, `log_flow_next`."""
    FORWARD_LOOKING = "forward-looking"
    """The reward at x̂_0 of every state is part of `log_flow` and `log_flow_next` (needs FLOW)."""
    OLD_LOG_PROB = "old-log-prob"
    """`log_pf_old`, the log-density at sampling."""
    OUTPUT_GAP = "output-gap"
    """`output_gap`, how far the network's guided output moved since sampling."""
    REFERENCE = "reference"
    """`reference_gap`, `reference_kl` and `log_pf_reference`, from a pass with the adapter switched off."""
    REFERENCE_PATH = "reference-path"
    """`Trajectories.log_pf_reference`, from such a pass at every step of the sampling."""
    REWARD_GRADIENT = "reward-gradient"
    """`reward_gradient` and `reward_gradient_next`; every reward of the run must be differentiable."""
    FLOW_PATH = "flow-path"
    """`Trajectories.log_flow` and `Trajectories.potential`, at every state of the trajectories (needs FLOW)."""
    SCORES = "scores"
    """`score_next` and `score_next_reference`: gradients of the transition's log-density in the state it leads to."""
    BACKWARD_SCORES = "backward-scores"
    """`score` and `score_reference`: the same in the state that it begins with."""
    RESIDUAL = "residual"
    """A network g_φ of the latent's shape is trained: `residual`, `residual_next`."""
    GROUPS = "groups"
    """Several images a prompt, so that they can be compared."""


class Trajectories(Protocol):
    """What `prepare` and `select` may read of b sampled trajectories of T transitions. Nothing has a gradient."""

    @property
    def prompts(self) -> Sequence[Prompt]: ...

    @property
    def group(self) -> Tensor:
        """Shape (b,), int64: trajectories with the same number share a prompt."""

    @property
    def branch(self) -> Tensor:
        """Shape (b,), int64: trajectories with the same number share their first steps."""

    @property
    def scores(self) -> Tensor:
        """Shape (b,), float32: raw reward of x_0, higher is better."""

    @property
    def log_pf_old(self) -> Tensor:
        """Shape (b, T): log p_F of each transition when it was sampled."""

    @property
    def log_pb(self) -> Tensor:
        """Shape (b, T): log-density of the noising kernel."""

    @property
    def log_prior(self) -> Tensor:
        """Shape (b,): log-density of the noise x_T that the trajectory began with, N(0, I)."""

    @property
    def log_pf_reference(self) -> Tensor | None:
        """Shape (b, T): log p_F of the reference, where REFERENCE_PATH is needed."""

    @property
    def log_flow(self) -> Tensor | None:
        """Shape (b, T + 1): log F̃ of the flow network at each state, 0 at the end, where FLOW_PATH is needed."""

    @property
    def potential(self) -> Tensor | None:
        """Shape (b, T + 1): the score at the end and, where FORWARD_LOOKING is needed too, at each state's x̂_0; else 0.

        log F(x_k) = log_flow + β · potential, at the end as well.
        """

    @property
    def epoch(self) -> int: ...

    @property
    def epochs(self) -> int: ...


@frozen(kw_only=True)
class Signals:
    """What `prepare` works out once an epoch.

    beta: what the engine multiplies raw rewards by, in `log_reward` and in forward-looking flows.
    values: shape (b,), one constant weight a trajectory (an advantage, a residual), or (b, T), one a transition;
        comes back as `Transitions.signal`. None stands for zeros.
    metrics: figures for this epoch's line.
    """

    beta: float = 1.0
    values: Tensor | None = None
    metrics: Mapping[str, float] = Factory(dict)


@frozen(kw_only=True)
class Transitions:
    """n transitions x_t → x_t', any mix of samples and steps.

    Of shape (n,):

    log_pf: log p_F(x_t' | x_t) of the current policy, with gradient.
    log_pb: log p_B(x_t | x_t') of the noising kernel.
    log_reward: β r(x_0) of the transition's trajectory.
    is_last: bool, whether x_t' is the end of the trajectory.
    step: int64, k = 0..T-1 from noise to image.
    signal: what `prepare` gave for the trajectory, or for the transition.
    log_flow, log_flow_next: log F(x_t), log F(x_t'), with gradient; at the end log F(x_t') = β r(x_0).
    log_pf_old: log p_F when the transition was sampled.
    output_gap: mean over the latent of (output - output at sampling)², with gradient.
    reference_gap: mean over the latent of (output - output of the reference)², with gradient.
    reference_kl: KL(p_F ‖ p_F of the reference), reduced over the latent like log-densities, with gradient.
    log_pf_reference: log p_F of the reference.
    signal_level, signal_level_next: ᾱ = α² of both states' times, filled with `reward_gradient`.

    Of shape (n, *latent), float32:

    reward_gradient, reward_gradient_next: ∇ r(decode(x̂_0(x)), c) with respect to the state x = x_t and x = x_t', raw
        and without gradient; at the end of a trajectory that of r(x_0).
    score_next, score_next_reference: ∇_{x_t'} log p_F(x_t' | x_t), with gradient, and that of the reference.
    score, score_reference: ∇_{x_t} log p_F(x_t' | x_t) and that of the reference, both without gradient.
    residual, residual_next: g_φ(x_t, t, c), g_φ(x_t', t', c), with gradient.

    Those that the objective does not need are None.
    """

    log_pf: Tensor
    log_pb: Tensor
    log_reward: Tensor
    is_last: Tensor
    step: Tensor
    signal: Tensor
    log_flow: Tensor | None = None
    log_flow_next: Tensor | None = None
    log_pf_old: Tensor | None = None
    output_gap: Tensor | None = None
    reference_gap: Tensor | None = None
    reference_kl: Tensor | None = None
    log_pf_reference: Tensor | None = None
    signal_level: Tensor | None = None
    signal_level_next: Tensor | None = None
    reward_gradient: Tensor | None = None
    reward_gradient_next: Tensor | None = None
    score_next: Tensor | None = None
    score_next_reference: Tensor | None = None
    score: Tensor | None = None
    score_reference: Tensor | None = None
    residual: Tensor | None = None
    residual_next: Tensor | None = None


@frozen(kw_only=True)
class Loss:
    """values: shape (n,), one loss a transition, with gradient. metrics: name to a (n,) or scalar tensor."""

    values: Tensor
    metrics: Mapping[str, Tensor] = Factory(dict)


@runtime_checkable
class Objective(Protocol):
    """Turns transitions into a loss. Anything it remembers from epoch to epoch is in its state."""

    needs: frozenset[Needs]

    def prepare(self, trajectories: Trajectories, /) -> Signals:
        """Once an epoch, without gradient, on all trajectories of all processes: β, advantages, residuals."""

    def loss(self, batch: Transitions, /) -> Loss:
        """Once a micro-batch."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold: nested dicts and lists of tensors, numbers, strings."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...
