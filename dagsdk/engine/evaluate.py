"""Evaluates the current policy and flow at any mix of (sample, step) pairs: the transitions that an objective sees."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from attrs import evolve, frozen
from torch import Tensor, nn

from dagsdk.engine.forward_looking import ForwardLooking
from dagsdk.engine.policy import Policy
from dagsdk.engine.trajectory import Pairs, Trajectory, pairs
from dagsdk.families.conditioning import Conditioning, concatenate
from dagsdk.objectives.protocol import Needs, Signals, Transitions
from dagsdk.process.gaussian import Gaussian

IN_THE_STATE = frozenset({Needs.REWARD_GRADIENT, Needs.BACKWARD_SCORES})
"""What is a gradient in the state x_t."""
COMPARED = frozenset({Needs.REFERENCE, Needs.SCORES, Needs.BACKWARD_SCORES})
"""What a pass through the reference is needed for."""


@frozen(eq=False)
class Evaluator:
    """Fills `Transitions` with what an objective needs, and nothing else.

    reference: a context within which the policy is the reference.
    flow, residual: log F̃ and g_φ, where they are needed.
    """

    policy: Policy
    reference: Callable[[], AbstractContextManager[object]]
    flow: nn.Module | None
    forward_looking: ForwardLooking
    needs: frozenset[Needs]
    residual: nn.Module | None = None

    @property
    def recorded(self) -> bool:
        """Whether forward-looking rewards are those of the x̂_0 that the sampler kept."""
        return Needs.FORWARD_LOOKING in self.needs and self.forward_looking.config.mode == "recorded"

    def transitions(
        self, trajectories: Trajectory, batch: Pairs, signals: Signals, potentials: Tensor | None
    ) -> Transitions:
        """n transitions under the current weights, with gradient.

        potentials: shape (b, T + 1), recorded forward-looking rewards; None computes them with the current network.
        """
        schedule, needs = self.policy.schedule, self.needs
        conditioning = batch.conditioning(trajectories)
        x_t, x_next = batch.of(trajectories.states), batch.of(trajectories.states, 1)
        x_t.requires_grad_(bool(needs & IN_THE_STATE))
        t, t_next = schedule.times[batch.step], schedule.times[batch.step + 1]
        # Before the policy's own pass: a reference may stand in for the weights that a graph is to find again.
        reference = self._reference(x_t, x_next, t, t_next, conditioning) if needs & COMPARED else None
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
        if Needs.OLD_LOG_PROB in needs:
            values["log_pf_old"] = batch.of(trajectories.log_pf_old)
        if Needs.OUTPUT_GAP in needs:
            assert trajectories.outputs is not None
            values["output_gap"] = _gap(guided, batch.of(trajectories.outputs))
        if Needs.SCORES in needs:
            values["score_next"] = policy.score(x_next)
        if Needs.BACKWARD_SCORES in needs:
            values["score"] = _score(policy, x_next, x_t)
        if reference is not None:
            values |= self._compared(guided, policy, x_next, *reference)
        if Needs.REWARD_GRADIENT in needs:
            clean = self.policy.clean_state(conditional, x_t, t)[0]
            values["reward_gradient"] = self.forward_looking.gradient(clean, x_t, trajectories, batch.sample)
            values["reward_gradient_next"] = self.forward_looking.gradient_next(trajectories, batch)
            for name, time in (("signal_level", t), ("signal_level_next", t_next)):
                values[name] = self.policy.family.path.alpha(time).square().float()
        both = torch.cat([x_t.detach(), x_next]), torch.cat([t, t_next]), concatenate([conditioning] * 2)
        if self.residual is not None and Needs.RESIDUAL in needs:
            with self.policy.autocast():
                values["residual"], values["residual_next"] = self.residual(*both).float().chunk(2)
        if self.flow is not None and Needs.FLOW in needs:
            # log F̃ of both ends in one call
            with self.policy.autocast():
                log_flow, log_flow_next = self.flow(*both).float().chunk(2)
            if Needs.FORWARD_LOOKING in needs and signals.beta != 0:
                if potentials is None:
                    here, there = self.forward_looking.current(trajectories, batch, conditional, x_t, t)
                else:
                    here, there = batch.of(potentials), batch.of(potentials, 1)
                # log F(x_t) = log F̃_φ(x_t, t, c) + β r(decode(x̂_0(x_t)), c)
                log_flow, log_flow_next = log_flow + signals.beta * here, log_flow_next + signals.beta * there
            values["log_flow"] = log_flow
            values["log_flow_next"] = torch.where(is_last, log_reward, log_flow_next)
        return Transitions(**values)

    def _reference(
        self, x_t: Tensor, x_next: Tensor, t: Tensor, t_next: Tensor, conditioning: Conditioning
    ) -> tuple[Tensor, Gaussian, Tensor | None]:
        """The reference's guided output, its p_F and, where it is needed, its score in x_t; without gradient."""
        backward = Needs.BACKWARD_SCORES in self.needs
        with self.reference(), torch.set_grad_enabled(backward):
            output, _ = self.policy.outputs(x_t, t, conditioning)
            kernel = self.policy.transition(output, x_t, t, t_next)
            score = _score(kernel, x_next, x_t) if backward else None
        return output.detach(), evolve(kernel, mean=kernel.mean.detach(), std=kernel.std.detach()), score

    def _compared(
        self, guided: Tensor, policy: Gaussian, x_next: Tensor, output: Tensor, kernel: Gaussian, score: Tensor | None
    ) -> dict[str, Tensor]:
        """The fields that look at the reference's output, p_F and score in x_t."""
        reduction, values = self.policy.schedule.reduction, {}
        if score is not None:
            values["score_reference"] = score
        if Needs.SCORES in self.needs:
            values["score_next_reference"] = kernel.score(x_next)
        if Needs.REFERENCE in self.needs:
            values["log_pf_reference"] = kernel.log_prob(x_next, reduction)
            values["reference_gap"] = _gap(guided, output)
            values["reference_kl"] = policy.kl(kernel, reduction)
        return values

    @torch.no_grad()
    def along_the_path(self, trajectories: Trajectory) -> Trajectory:
        """The trajectories with `log_flow` and `potential` at every state, by the weights that sampled them."""
        assert self.flow is not None
        everything = pairs(torch.ones_like(trajectories.scores, dtype=torch.bool), (0, trajectories.steps))
        parts = []
        for batch in everything.split(self.forward_looking.batch):
            times = self.policy.schedule.times[batch.step]
            with self.policy.autocast():
                parts.append(self.flow(batch.of(trajectories.states), times, batch.conditioning(trajectories)).float())
        ends = trajectories.scores[:, None]
        before = torch.zeros_like(trajectories.log_pb, dtype=ends.dtype)
        log_flow = torch.cat([torch.cat(parts).view_as(before), torch.zeros_like(ends)], 1)
        if Needs.FORWARD_LOOKING in self.needs:
            potential = self.forward_looking.record(trajectories, everything)
        else:
            potential = torch.cat([before, ends], 1)
        return evolve(trajectories, log_flow=log_flow, potential=potential)


def _signal(signals: Signals, batch: Pairs, like: Tensor) -> Tensor:
    if signals.values is None:
        return torch.zeros_like(like)
    return signals.values[batch.sample] if signals.values.ndim == 1 else batch.of(signals.values)


def _gap(output: Tensor, other: Tensor) -> Tensor:
    return (output - other).square().flatten(1).mean(1)


def _score(kernel: Gaussian, x_next: Tensor, x_t: Tensor) -> Tensor:
    """∇_{x_t} log p(x_t' | x_t), of x_t's shape, without gradient."""
    return torch.autograd.grad(kernel.log_prob(x_next, "sum").sum(), x_t, retain_graph=True)[0]
