"""Builds transitions: policy and auxiliary networks at any mix of (trajectory, step) pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property

import torch
from attrs import evolve, frozen
from torch import Tensor

from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.pairs import Pairs, pairs
from dagsdk.engine.parts import FILLERS, Filling, Network
from dagsdk.engine.policy import Policy
from dagsdk.engine.potentials import Potentials, RecordedPotentials
from dagsdk.objectives.parts import Needs, StateFlowPath
from dagsdk.objectives.protocol import Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.process.conditioning import concatenate
from dagsdk.process.gaussian import Gaussian


@frozen(eq=False)
class Pass:
    """One pass of a network over n states.

    output: guided, shape (n, *latent). conditional: without guidance. kernel: its p_F(x_t' | x_t).
    score_here: ∇_{x_t} log p_F(x_t' | x_t), without gradient, where it was asked for.
    """

    output: Tensor
    conditional: Tensor
    kernel: Gaussian
    score_here: Tensor | None = None


class Passes:
    """What the parts of n transitions are computed from, under the current weights.

    reference_context: within it the policy is the reference.
    compares: whether the reference is looked at. in_state: whether gradients in x_t are taken.
    backward: whether the scores in x_t are.
    """

    def __init__(
        self,
        policy: Policy,
        reference_context: Callable[[], AbstractContextManager[object]],
        trajectories: Trajectories,
        pairs: Pairs,
        *,
        compares: bool = False,
        in_state: bool = False,
        backward: bool = False,
    ) -> None:
        self.policy, self.trajectories, self.pairs = policy, trajectories, pairs
        self.latents = trajectories.latents
        self._reference_context, self._backward = reference_context, backward
        self.conditioning = pairs.conditioning(trajectories)
        self.x_t, self.x_next = pairs.of(trajectories.states), pairs.of(trajectories.states, 1)
        self.x_t.requires_grad_(in_state)
        times = policy.schedule.times
        self.t, self.t_next = times[pairs.step], times[pairs.step + 1]
        self.is_last = pairs.step == trajectories.steps - 1
        self.reduction = policy.schedule.reduction
        if compares:
            _ = self.reference  # first: it may swap the weights that the graph of `current` refers to

    @cached_property
    def current(self) -> Pass:
        """The policy in training, with gradient."""
        return self._pass()

    @cached_property
    def reference(self) -> Pass:
        """The model before training, without gradient."""
        with self._reference_context(), torch.set_grad_enabled(self._backward):
            found = self._pass()
        kernel = Gaussian(found.kernel.mean.detach(), found.kernel.std.detach(), checked=found.kernel.checked)
        return Pass(found.output.detach(), found.conditional.detach(), kernel, found.score_here)

    def both_ends(self, network: Network) -> tuple[Tensor, Tensor]:
        """An auxiliary network at x_t and at x_t', in one call; float32, with gradient."""
        states, times = torch.cat([self.x_t.detach(), self.x_next]), torch.cat([self.t, self.t_next])
        here, there = network(states, times, concatenate([self.conditioning] * 2)).float().chunk(2)
        return here, there

    def _pass(self) -> Pass:
        output, conditional = self.policy.outputs(self.x_t, self.t, self.conditioning)
        kernel = self.policy.transition(output, self.x_t, self.t, self.t_next)
        score_here = None
        if self._backward:
            log_prob = kernel.log_prob(self.x_next, "sum").sum()
            score_here = torch.autograd.grad(log_prob, self.x_t, retain_graph=True)[0]
        return Pass(output, conditional, kernel, score_here)


@frozen(eq=False, kw_only=True)
class TransitionBuilder:
    """Fills `Transitions` with what an objective needs, and nothing else.

    reference: a context within which the policy is the reference.
    networks: auxiliary networks by name, "state_flow" and "flow_gradient", where they are needed.
    every: of the states along a path, only every n-th is rewarded.
    """

    policy: Policy
    reference: Callable[[], AbstractContextManager[object]]
    networks: Mapping[str, Network]
    clean_rewards: CleanRewards
    potentials: Potentials
    needs: frozenset[Needs]
    every: int = 1

    def start(self, trajectories: Trajectories, signals: Signals, everything: Pairs) -> Callable[[Pairs], Transitions]:
        """For an epoch's updates, which will see `everything`: what builds the transitions of a micro-batch."""
        fillers = {need: filler for need, filler in FILLERS.items() if need in self.needs}
        looks = {key: any(getattr(f, key) for f in fillers.values()) for key in ("compares", "in_state", "backward")}
        given = Filling(
            networks=self.networks,
            clean_rewards=self.clean_rewards,
            potentials=self.potentials.start(trajectories, everything) if signals.beta != 0 else lambda passes: None,
            beta=signals.beta,
        )

        def build(batch: Pairs) -> Transitions:
            """n transitions under the current weights, with gradient."""
            passes = Passes(self.policy, self.reference, trajectories, batch, **looks)
            log_reward = signals.beta * trajectories.rewards[batch.sample]
            return Transitions(
                log_pf=passes.current.kernel.log_prob(passes.x_next, passes.reduction),
                log_pb=batch.of(trajectories.log_pb),
                log_reward=log_reward,
                is_last=passes.is_last,
                step=batch.step,
                signal=signals.of(batch.sample, batch.step, log_reward),
                parts={need: filler.fill(passes, given) for need, filler in fillers.items()},
            )

        return build

    @torch.no_grad()
    def along_paths(self, trajectories: Trajectories) -> Trajectories:
        """The trajectories with log F at every state, by the weights that sampled them, where that is needed."""
        if Needs.STATE_FLOW_PATH not in self.needs:
            return trajectories
        everything = pairs(torch.ones_like(trajectories.replayed), (0, trajectories.steps))
        parts = []
        for batch in everything.split(self.clean_rewards.batch):
            states, times = batch.of(trajectories.states), self.policy.schedule.times[batch.step]
            parts.append(self.networks["state_flow"](states, times, batch.conditioning(trajectories)).float())
        ends = trajectories.rewards[:, None]
        before = torch.zeros_like(trajectories.log_pb, dtype=ends.dtype)
        network = torch.cat([torch.cat(parts).view_as(before), torch.zeros_like(ends)], 1)
        potential = torch.cat([before, ends], 1)
        if Needs.FORWARD_LOOKING in self.needs:
            potential = RecordedPotentials(self.clean_rewards, self.every).record(trajectories, everything)
        part = {Needs.STATE_FLOW_PATH: StateFlowPath(network, potential)}
        return evolve(trajectories, parts={**trajectories.parts, **part})
