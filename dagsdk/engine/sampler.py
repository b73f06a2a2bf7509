"""Samples trajectories from the policy: guided, batched, each from a seed of its own, without gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.engine.seeds import Noise
from dagsdk.engine.trajectory import Ends, Trajectory, joined
from dagsdk.families.conditioning import Conditioning, take
from dagsdk.process.gaussian import Gaussian, Reduction
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan


@frozen(eq=False)
class Sampler:
    """Draws trajectories of a policy.

    batch: trajectories that go through the network together. What a seed leads to does not depend on it.
    record_outputs, record_denoised: whether trajectories keep `outputs` and `denoised`.
    reference: a context within which the network is the reference, where trajectories keep `log_pf_reference`.
    tick: called after every network call with the number of trajectories it took one step.
    """

    policy: Policy
    device: torch.device
    batch: int
    record_outputs: bool = False
    record_denoised: bool = False
    reference: Callable[[], AbstractContextManager[object]] | None = None
    tick: Callable[[int], None] = field(default=lambda n: None)

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[Prompt],
        seeds: Sequence[int],
        plan: RolloutPlan,
        *,
        epoch: int = 0,
        epochs: int = 1,
        first: int = 0,
    ) -> Trajectory:
        """Trajectories of prompts that the plan has already repeated: one seed and one prompt each.

        With branches, each run of `plan.branches` neighbours shares a prompt; its first `branch_step` steps are
        sampled once, with the noise of the first of them.

        first: number of the first trajectory among those of all processes, which groups are counted from.
        """
        size = max(1, self.batch // plan.branches) * plan.branches
        texts = list(dict.fromkeys(prompt.text for prompt in prompts))
        encoded = self.policy.family.encode(texts)
        rows = torch.tensor([texts.index(prompt.text) for prompt in prompts], device=self.device)
        branch = torch.arange(first, first + len(prompts), device=self.device) // plan.branches
        group = branch // plan.images_per_prompt
        parts = []
        for start in range(0, len(prompts), size):
            part = slice(start, start + size)
            parts.append(
                self._batch(
                    tuple(prompts[part]),
                    tuple(seeds[part]),
                    take(encoded, rows[part]),
                    group[part],
                    branch[part],
                    plan,
                    (epoch, epochs),
                )
            )
        return joined(parts)

    def _batch(
        self,
        prompts: tuple[Prompt, ...],
        seeds: tuple[int, ...],
        conditioning: Conditioning,
        group: Tensor,
        branch: Tensor,
        plan: RolloutPlan,
        when: tuple[int, int],
    ) -> Trajectory:
        policy, schedule = self.policy, self.policy.schedule
        noise = Noise(seeds, policy.family.latent_shape, self.device)
        # The rows that are stepped: the first of each branch point until the branches part, then all.
        stepped = torch.arange(0, len(prompts), plan.branches if plan.branch_step else 1, device=self.device)
        copies = plan.branches if plan.branch_step else 1
        conditions = take(conditioning, stepped)
        x_t = noise.draw()[stepped]
        log_prior = _log_prior(x_t, schedule.reduction).repeat_interleave(copies, 0)
        states = [x_t.repeat_interleave(copies, 0)]
        record = Record(self)
        for k in range(schedule.steps):
            if k == plan.branch_step and copies > 1:
                x_t, conditions, copies = x_t.repeat_interleave(copies, 0), conditioning, 1
            transition = record.begin(k, x_t, conditions, copies)
            drawn = noise.draw()
            x_t = transition.at(drawn if copies == 1 else drawn[stepped])
            record.end(x_t)
            states.append(x_t.repeat_interleave(copies, 0))
        return Trajectory(
            prompts=prompts,
            seeds=seeds,
            conditioning=conditioning,
            group=group,
            branch=branch,
            states=torch.stack(states, 1),
            clean=policy.finish(x_t, conditioning),
            log_prior=log_prior,
            **record.stacked(),
            scores=torch.zeros(len(prompts), device=self.device),
            epoch=when[0],
            epochs=when[1],
        )

    @torch.no_grad()
    def retrace(self, ends: Ends, seeds: Sequence[int], *, epoch: int = 0, epochs: int = 1) -> Trajectory:
        """Trajectories that lead to given images: their states are drawn from the noising kernel, back to noise.

        log p_F and whatever else is recorded are those of the current policy.
        """
        texts = list(dict.fromkeys(prompt.text for prompt in ends.prompts))
        encoded = self.policy.family.encode(texts)
        rows = torch.tensor([texts.index(prompt.text) for prompt in ends.prompts], device=self.device)
        parts = []
        for start in range(0, len(seeds), self.batch):
            part = slice(start, start + self.batch)
            parts.append(self._retrace(ends.part(part), tuple(seeds[part]), take(encoded, rows[part]), (epoch, epochs)))
        return joined(parts)

    def _retrace(
        self, ends: Ends, seeds: tuple[int, ...], conditioning: Conditioning, when: tuple[int, int]
    ) -> Trajectory:
        policy, schedule = self.policy, self.policy.schedule
        noise = Noise(seeds, policy.family.latent_shape, self.device)
        states = [ends.terminal]
        for k in reversed(range(schedule.steps)):
            t, t_next = (schedule.times[i].expand(len(seeds)) for i in (k, k + 1))
            states.append(policy.noising(states[-1], t, t_next).at(noise.draw()))
        states.reverse()
        record = Record(self)
        for k, (x_t, x_next) in enumerate(pairwise(states)):
            record.begin(k, x_t, conditioning)
            record.end(x_next)
        return Trajectory(
            prompts=ends.prompts,
            seeds=seeds,
            conditioning=conditioning,
            group=ends.group,
            branch=ends.branch,
            states=torch.stack(states, 1),
            clean=ends.clean,
            log_prior=_log_prior(states[0], schedule.reduction),
            **record.stacked(),
            scores=ends.scores,
            epoch=when[0],
            epochs=when[1],
        )


class Record:
    """What trajectories keep of each transition. Where branches are still one, a row stands for `copies` of them."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.columns: dict[str, list[Tensor]] = {}

    def begin(self, k: int, x_t: Tensor, conditions: Conditioning, copies: int = 1) -> Gaussian:
        """Calls the network at step k's state: p_F(x_t' | x_t)."""
        policy, times = self.sampler.policy, self.sampler.policy.schedule.times
        self.t, self.t_next = times[k].expand(len(x_t)), times[k + 1].expand(len(x_t))
        self.x_t, self.conditions, self.copies = x_t, conditions, copies
        guided, conditional = policy.outputs(x_t, self.t, conditions)
        if self.sampler.record_outputs:
            self._keep("outputs", guided)
        if self.sampler.record_denoised:
            self._keep("denoised", policy.clean_state(conditional, x_t, self.t)[0])
        self.transition = policy.transition(guided, x_t, self.t, self.t_next)
        return self.transition

    def end(self, x_next: Tensor) -> None:
        """Keeps the densities of the transition to x_t'."""
        policy, reference = self.sampler.policy, self.sampler.reference
        reduction = policy.schedule.reduction
        self._keep("log_pf_old", self.transition.log_prob(x_next, reduction))
        self._keep("log_pb", policy.noising(x_next, self.t, self.t_next).log_prob(self.x_t, reduction))
        if reference is not None:
            with reference():
                told, _ = policy.outputs(self.x_t, self.t, self.conditions)
                kernel = policy.transition(told, self.x_t, self.t, self.t_next)
            self._keep("log_pf_reference", kernel.log_prob(x_next, reduction))
        self.sampler.tick(len(self.x_t) * self.copies)

    def stacked(self) -> dict[str, Any]:
        """Each of shape (b, T, ...), by the name that trajectories have for it."""
        return {name: torch.stack(columns, 1) for name, columns in self.columns.items()}

    def _keep(self, name: str, rows: Tensor) -> None:
        self.columns.setdefault(name, []).append(rows.repeat_interleave(self.copies, 0))


def _log_prior(x_t: Tensor, reduction: Reduction) -> Tensor:
    """log N(x_t; 0, I), shape (n,)."""
    prior = Gaussian(torch.zeros_like(x_t), torch.ones((), device=x_t.device), checked=True)
    return prior.log_prob(x_t, reduction)


def decoded(policy: Policy, clean: Tensor, batch: int) -> Tensor:
    """What rewards see of clean states (n, *latent), decoded `batch` at a time, without gradient."""
    with torch.no_grad():
        return torch.cat([policy.family.decode(part) for part in clean.split(batch)])
