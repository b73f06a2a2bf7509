"""What fills each part of `Transitions`: one small class per part, over passes that are made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.pairs import Pairs
from dagsdk.engine.potentials import Ends
from dagsdk.objectives.parts import (
    BackwardScores,
    FlowGradient,
    Needs,
    Old,
    OldOutput,
    Reference,
    RewardGradient,
    Scores,
    StateFlow,
)
from dagsdk.process.conditioning import Conditioning

if TYPE_CHECKING:
    from dagsdk.engine.transitions import Passes

Network = Callable[[Tensor, Tensor, Conditioning], Tensor]
"""An auxiliary network in the run's precision: states (n, *latent), times (n,) and conditioning to its output."""


@frozen(eq=False, kw_only=True)
class Filling:
    """What the parts of one epoch are filled from, besides the passes.

    networks: auxiliary networks by name. potentials: those of a micro-batch. beta: β of the epoch.
    """

    networks: Mapping[str, Network]
    clean_rewards: CleanRewards
    potentials: Callable[[Passes], Ends]
    beta: float


class Filler:
    """Fills one part.

    compares: whether it looks at the reference. in_state: whether it takes gradients in x_t. backward: of log p_F.
    """

    compares: ClassVar[bool] = False
    in_state: ClassVar[bool] = False
    backward: ClassVar[bool] = False

    def fill(self, passes: Passes, given: Filling) -> Any:
        raise TypeError(f"{type(self).__name__} fills nothing")


class FillStateFlow(Filler):
    """log F(x_t) = log F̃_φ(x_t, t, c) + β r(decode(x̂_0(x_t)), c), and β r(x_0) at the end."""

    def fill(self, passes: Passes, given: Filling) -> StateFlow:
        here, there = passes.both_ends(given.networks["state_flow"])
        potentials = given.potentials(passes) if given.beta != 0 else None
        if potentials is not None:
            here, there = here + given.beta * potentials[0], there + given.beta * potentials[1]
        log_reward = given.beta * passes.trajectories.rewards[passes.pairs.sample]
        return StateFlow(here, torch.where(passes.is_last, log_reward, there))


class FillOld(Filler):
    def fill(self, passes: Passes, given: Filling) -> Old:
        return Old(passes.pairs.of(passes.trajectories.log_pf_old))


class FillOldOutput(Filler):
    def fill(self, passes: Passes, given: Filling) -> OldOutput:
        return OldOutput(
            _gap(passes.current.output, passes.pairs.of(cast(Tensor, passes.trajectories.latents.outputs)))
        )


class FillReference(Filler):
    compares = True

    def fill(self, passes: Passes, given: Filling) -> Reference:
        current, reference = passes.current, passes.reference
        return Reference(
            log_pf=reference.kernel.log_prob(passes.x_next, passes.reduction),
            gap=_gap(current.output, reference.output),
            kl=current.kernel.kl(reference.kernel, passes.reduction),
        )


class FillScores(Filler):
    compares = True

    def fill(self, passes: Passes, given: Filling) -> Scores:
        return Scores(passes.current.kernel.score(passes.x_next), passes.reference.kernel.score(passes.x_next))


class FillBackwardScores(Filler):
    compares, in_state, backward = True, True, True

    def fill(self, passes: Passes, given: Filling) -> BackwardScores:
        here, here_reference = passes.current.score_here, passes.reference.score_here
        assert here is not None and here_reference is not None
        return BackwardScores(here, here_reference)


class FillRewardGradient(Filler):
    """∇ r(decode(x̂_0(x)), c) by the current network at both ends; at the end of a trajectory that of r(x_0)."""

    in_state = True

    def fill(self, passes: Passes, given: Filling) -> RewardGradient:
        policy, path = passes.policy, passes.policy.model.path
        clean = policy.clean_state(passes.current.conditional, passes.x_t, passes.t)[0]
        here = given.clean_rewards.gradient(clean, passes.x_t, passes.trajectories, passes.pairs.sample)
        alpha_bar, alpha_bar_next = (path.alpha(t).square().float() for t in (passes.t, passes.t_next))
        return RewardGradient(here, self._next(passes, given.clean_rewards), alpha_bar, alpha_bar_next)

    @torch.enable_grad()
    def _next(self, passes: Passes, rewards: CleanRewards) -> Tensor:
        trajectories, policy, gradients = passes.trajectories, passes.policy, torch.empty_like(passes.x_next)
        for chosen, at_the_end in ((passes.is_last, True), (~passes.is_last, False)):
            index = chosen.nonzero().squeeze(-1)
            if not len(index):
                continue
            within = Pairs(passes.pairs.sample[index], passes.pairs.step[index])
            states, conditioning = within.of(trajectories.states, 1).requires_grad_(), within.conditioning(trajectories)
            if at_the_end:
                clean = policy.finish(states, conditioning)
            else:
                t = policy.schedule.times[within.step + 1]
                clean = policy.clean_state(policy.conditional_output(states, t, conditioning), states, t)[0]
            gradients[index] = rewards.gradient(clean, states, trajectories, within.sample)
        return gradients


class FillFlowGradient(Filler):
    def fill(self, passes: Passes, given: Filling) -> FlowGradient:
        return FlowGradient(*passes.both_ends(given.networks["flow_gradient"]))


FILLERS: Mapping[Needs, Filler] = {
    Needs.OLD: FillOld(),
    Needs.OLD_OUTPUT: FillOldOutput(),
    Needs.SCORES: FillScores(),
    Needs.BACKWARD_SCORES: FillBackwardScores(),
    Needs.REFERENCE: FillReference(),
    Needs.REWARD_GRADIENT: FillRewardGradient(),
    Needs.FLOW_GRADIENT: FillFlowGradient(),
    Needs.STATE_FLOW: FillStateFlow(),
}
"""In the order in which they are filled."""


def _gap(output: Tensor, other: Tensor) -> Tensor:
    """Mean over the latent of the squared difference: shape (n,)."""
    return (output - other).square().flatten(1).mean(1)
