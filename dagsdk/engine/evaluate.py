"""Evaluates the current policy and flow at any mix of (sample, step) pairs: the transitions that an objective sees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from attrs import frozen
from torch import Tensor, nn

from dagsdk.engine.forward_looking import ForwardLooking
from dagsdk.engine.policy import Policy
from dagsdk.engine.trajectory import Pairs, Trajectory
from dagsdk.families.conditioning import concatenate
from dagsdk.objectives.protocol import Needs, Signals, Transitions


@frozen(eq=False)
class Evaluator:
    """Fills `Transitions` with what an objective needs, and nothing else.

    reference: a context within which the policy is the reference.
    """

    policy: Policy
    reference: Callable[[], AbstractContextManager[object]]
    flow: nn.Module | None
    forward_looking: ForwardLooking
    needs: frozenset[Needs]

    def transitions(
        self, trajectories: Trajectory, batch: Pairs, signals: Signals, potentials: Tensor | None
    ) -> Transitions:
        """n transitions under the current weights, with gradient.

        potentials: shape (b, T + 1), recorded forward-looking rewards; None computes them with the current network.
        """
        schedule = self.policy.schedule
        conditioning = batch.conditioning(trajectories)
        x_t, x_next = batch.of(trajectories.states), batch.of(trajectories.states, 1)
        t, t_next = schedule.times[batch.step], schedule.times[batch.step + 1]
        guided, conditional = self.policy.outputs(x_t, t, conditioning)
        policy = self.policy.transition(guided, x_t, t, t_next)
        log_reward = signals.beta * trajectories.scores[batch.sample]
        is_last = batch.step == trajectories.steps - 1
        values = {
            "log_pf": policy.log_prob(x_next, schedule.reduction),
            "log_pb": batch.of(trajectories.log_pb),
            "log_reward": log_reward,
            "is_last": is_last,
            "step": batch.step,
            "signal": _signal(signals, batch, log_reward),
        }
        if Needs.OLD_LOG_PROB in self.needs:
            values["log_pf_old"] = batch.of(trajectories.log_pf_old)
        if Needs.OUTPUT_GAP in self.needs:
            assert trajectories.outputs is not None
            values["output_gap"] = _gap(guided, batch.of(trajectories.outputs))
        if Needs.REFERENCE in self.needs:
            with torch.no_grad(), self.reference():
                reference, _ = self.policy.outputs(x_t, t, conditioning)
                kernel = self.policy.transition(reference, x_t, t, t_next)
                values["log_pf_reference"] = kernel.log_prob(x_next, schedule.reduction)
            values["reference_gap"] = _gap(guided, reference)
            values["reference_kl"] = policy.kl(kernel, schedule.reduction)
        if Needs.REWARD_GRADIENT in self.needs:
            clean = self.policy.clean_state(conditional.detach(), x_t, t)[0]
            values["reward_gradient"] = self.forward_looking.gradient(clean, trajectories, batch.sample)
        if self.flow is not None and Needs.FLOW in self.needs:
            # log F̃ of both ends in one call
            both = torch.cat([x_t, x_next]), torch.cat([t, t_next]), concatenate([conditioning] * 2)
            with self.policy.autocast():
                log_flow, log_flow_next = self.flow(*both).float().chunk(2)
            if Needs.FORWARD_LOOKING in self.needs and signals.beta != 0:
                if potentials is None:
                    here, there = self.forward_looking.current(trajectories, batch, conditional, x_t, t)
                else:
                    here, there = batch.of(potentials), batch.of(potentials, 1)
                # log F(x_t) = log F̃_φ(x_t, t, c) + β r(decode(x̂_0(x_t)), c)
                log_flow, log_flow_next = log_flow + signals.beta * here, log_flow_next + signals.beta * there
            values["log_flow"] = log_flow
            values["log_flow_next"] = torch.where(is_last, log_reward, log_flow_next)
        return Transitions(**values)


def _signal(signals: Signals, batch: Pairs, like: Tensor) -> Tensor:
    if signals.values is None:
        return torch.zeros_like(like)
    return signals.values[batch.sample] if signals.values.ndim == 1 else batch.of(signals.values)


def _gap(output: Tensor, other: Tensor) -> Tensor:
    return (output - other).square().flatten(1).mean(1)
