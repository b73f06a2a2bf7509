"""The forward-looking part of log F: the reward that a state's x̂_0 already promises (arXiv 2406.00633, section 3.3).

Any fixed potential has the same fixed point, so it may be recorded once per epoch (the default), or computed with the
current network at each update, as the paper's code does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.clean_rewards import CleanRewards
from dagsdk.engine.pairs import Pairs
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.trajectories import Trajectories

if TYPE_CHECKING:
    from dagsdk.engine.transitions import Passes

Ends = tuple[Tensor, Tensor] | None
"""Potentials at x_t and x_t' of n transitions, each of shape (n,), without gradient; None stands for zeros."""


class Potentials(Protocol):
    """Where potentials come from."""

    keeps_denoised: bool
    """Whether trajectories must keep x̂_0 of their states."""

    def start(self, trajectories: Trajectories, pairs: Pairs) -> Callable[[Passes], Ends]:
        """For the updates of an epoch that will see these pairs: what gives a micro-batch its potentials."""


class NoPotentials:
    """For objectives that do not look forward."""

    keeps_denoised = False

    def start(self, trajectories: Trajectories, pairs: Pairs) -> Callable[[Passes], Ends]:
        return lambda passes: None


@frozen(eq=False)
class RecordedPotentials:
    """Of the conditional x̂_0 that the sampler kept: each state is decoded and rewarded at most once per epoch.

    every: only every n-th state is; its value is held until the next.
    """

    clean_rewards: CleanRewards
    every: int
    keeps_denoised = True

    def start(self, trajectories: Trajectories, pairs: Pairs) -> Callable[[Passes], Ends]:
        if Needs.STATE_FLOW_PATH in trajectories.parts:  # recorded for the whole path already
            table = trajectories.state_flow.potential
        else:
            table = self.record(trajectories, pairs)
        return lambda passes: (passes.pairs.of(table), passes.pairs.of(table, 1))

    @torch.no_grad()
    def record(self, trajectories: Trajectories, pairs: Pairs) -> Tensor:
        """Potentials by state, shape (b, T + 1), the terminal one being the image's own reward.

        Only states at either end of these transitions are rewarded; others hold 0.
        """
        denoised, device = trajectories.latents.denoised, trajectories.rewards.device
        assert denoised is not None
        b, steps = trajectories.log_pf_old.shape
        wanted = torch.zeros(b, steps + 1, dtype=torch.bool, device=device)
        wanted[pairs.sample, self._held(pairs.step)] = True
        following = pairs.step + 1
        wanted[pairs.sample, torch.where(following == steps, following, self._held(following))] = True
        potentials = torch.zeros(wanted.shape, device=device)
        samples, states = wanted[:, :steps].nonzero(as_tuple=True)
        if len(samples):
            potentials[samples, states] = self.clean_rewards.of(denoised[samples, states], trajectories, samples)
        held = self._held(torch.arange(steps, device=device))
        potentials = torch.cat([potentials[:, held], potentials[:, steps:]], dim=1)
        potentials[:, steps] = trajectories.rewards
        return potentials

    def _held(self, step: Tensor) -> Tensor:
        """The rewarded state whose value a state has: with every = n, the last multiple of n."""
        return step - step % self.every


@frozen(eq=False)
class CurrentPotentials:
    """Of x̂_0 by the current network, at both ends of each transition."""

    clean_rewards: CleanRewards
    keeps_denoised = False

    def start(self, trajectories: Trajectories, pairs: Pairs) -> Callable[[Passes], Ends]:
        return self._ends

    @torch.no_grad()
    def _ends(self, passes: Passes) -> Ends:
        trajectories, pairs, rewards = passes.trajectories, passes.pairs, self.clean_rewards
        policy = rewards.policy
        clean = policy.clean_state(passes.current.conditional.detach(), passes.x_t, passes.t)[0]
        here = rewards.of(clean, trajectories, pairs.sample)
        there = trajectories.rewards[pairs.sample].clone()
        inner = (pairs.step + 1 < trajectories.steps).nonzero().squeeze(-1)
        if len(inner):
            within = Pairs(pairs.sample[inner], pairs.step[inner])
            x_next, t_next = within.of(trajectories.states, 1), policy.schedule.times[within.step + 1]
            output = policy.conditional_output(x_next, t_next, within.conditioning(trajectories))
            there[inner] = rewards.of(policy.clean_state(output, x_next, t_next)[0], trajectories, within.sample)
        return here, there
