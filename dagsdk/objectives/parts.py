"""The parts of a batch: what the engine fills for an objective that needs it. No torch is loaded here."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, frozen

from dagsdk.errors import TrainingError

if TYPE_CHECKING:
    from torch import Tensor


class Needs(Enum):
    """What the engine computes for an objective that asks for it. Each member but one fills one part."""

    STATE_FLOW = "state-flow"
    """A state flow is trained: `Transitions.state_flow`."""
    FORWARD_LOOKING = "forward-looking"
    """The reward at x̂_0 of every state is a part of log F, wherever log F is given (needs STATE_FLOW)."""
    OLD = "old"
    """`Transitions.old`: the policy that sampled."""
    OLD_OUTPUT = "old-output"
    """`Transitions.old_output` or `Denoisings.output_old`: the network's output when it sampled."""
    REFERENCE = "reference"
    """`Transitions.reference` or `Denoisings.output_reference`: the model before training, by a pass of its own."""
    SCORES = "scores"
    """`Transitions.scores`: ∇ log p_F in the state that a transition leads to."""
    BACKWARD_SCORES = "backward-scores"
    """`Transitions.backward_scores`: ∇ log p_F in the state that a transition begins with."""
    REWARD_GRADIENT = "reward-gradient"
    """`Transitions.reward_gradient`; every trained reward must be differentiable."""
    FLOW_GRADIENT = "flow-gradient"
    """A network g_φ of the latent's shape is trained: `Transitions.flow_gradient`."""
    REFERENCE_PATH = "reference-path"
    """`Trajectories.reference`: log p_F of the model before training, at every step of the sampling."""
    STATE_FLOW_PATH = "state-flow-path"
    """`Trajectories.state_flow`: log F at every state of the trajectories (needs STATE_FLOW)."""


@frozen(eq=False)
class StateFlow:
    """log F at both ends of n transitions, each of shape (n,), float32, with gradient.

    here: log F(x_t). next: log F(x_t'); at the end of a trajectory it is β r(x_0), without gradient.
    """

    here: Tensor
    next: Tensor


@frozen(eq=False)
class Old:
    """The policy that sampled. log_pf: log p_F(x_t' | x_t) at sampling, shape (n,), float32."""

    log_pf: Tensor


@frozen(eq=False)
class OldOutput:
    """gap: mean over the latent of (output - output at sampling)², shape (n,), float32, with gradient."""

    gap: Tensor


@frozen(eq=False)
class Reference:
    """The model before training, each of shape (n,), float32.

    log_pf: log p_F(x_t' | x_t) of the reference, without gradient.
    kl: KL(p_F ‖ p_F of the reference), reduced over the latent like log-densities, with gradient.
    gap: mean over the latent of (output - output of the reference)², with gradient.
    """

    log_pf: Tensor
    kl: Tensor
    gap: Tensor


@frozen(eq=False)
class Scores:
    """∇_{x_t'} log p_F(x_t' | x_t), of shape (n, *latent), float32.

    next: of the current policy, with gradient. next_reference: of the reference, without.
    """

    next: Tensor
    next_reference: Tensor


@frozen(eq=False)
class BackwardScores:
    """∇_{x_t} log p_F(x_t' | x_t), of shape (n, *latent), float32, without gradient.

    here: of the current policy. here_reference: of the reference.
    """

    here: Tensor
    here_reference: Tensor


@frozen(eq=False)
class RewardGradient:
    """∇_x r(decode(x̂_0(x)), c) at both ends of n transitions, unweighted by β and without gradient.

    here, next: in x = x_t and x = x_t', shape (n, *latent), float32; at the end of a trajectory `next` is ∇ r(x_0).
    alpha_bar, alpha_bar_next: ᾱ = α² at both times, shape (n,).
    """

    here: Tensor
    next: Tensor
    alpha_bar: Tensor
    alpha_bar_next: Tensor


@frozen(eq=False)
class FlowGradient:
    """g_φ(x_t, t, c) as `here` and g_φ(x_t', t', c) as `next`: shape (n, *latent), float32, with gradient."""

    here: Tensor
    next: Tensor


@frozen(eq=False)
class ReferencePath:
    """log_pf: log p_F of the reference for each transition of b trajectories, shape (b, T), float32."""

    log_pf: Tensor


@frozen(eq=False)
class StateFlowPath:
    """log F along b trajectories: log F(x_k) = network + β · potential, also at the end.

    network: log F̃ of the state flow at each state, shape (b, T + 1), float32; 0 at the end.
    potential: the reward at the end and, where FORWARD_LOOKING is needed too, at each state's x̂_0; else 0.
    """

    network: Tensor
    potential: Tensor


P = TypeVar("P")


@frozen(kw_only=True, eq=False)
class Parted:
    """A record whose parts are there as a whole or not at all.

    parts: what was filled, by need. Read them by name (`batch.old`), which raises TrainingError for one that is absent.
    """

    parts: Mapping[Needs, Any] = Factory(dict)

    def _part(self, need: Needs, kind: type[P], name: str) -> P:
        if need not in self.parts:
            raise TrainingError(
                f"{type(self).__name__} have no `{name}`, since the objective does not need {need.name}; add "
                f"Needs.{need.name} to the `needs` of its ObjectiveSpec"
            )
        part: P = self.parts[need]
        return part
