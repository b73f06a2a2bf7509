"""Samples trajectories from the policy: guided, batched, each from a seed of its own, without gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
from attrs import field, frozen
from torch import Tensor

from dagsdk.engine.drawing import Drawn
from dagsdk.engine.policy import Policy
from dagsdk.engine.seeds import Noise
from dagsdk.objectives.parts import Needs, ReferencePath
from dagsdk.objectives.trajectories import Latents, Trajectories, joined
from dagsdk.process.conditioning import Conditioning, take
from dagsdk.process.gaussian import Gaussian, Reduction
from dagsdk.prompts.protocol import Prompt
from dagsdk.rollouts.protocol import RolloutPlan


@frozen(eq=False, kw_only=True)
class Sampler:
    """Draws trajectories of a policy.

    batch: trajectories that go through the network together. What a seed leads to does not depend on it.
    keeps_path: whether trajectories keep their states and densities; on the forward process they keep images only.
    keeps_outputs, keeps_denoised: whether they keep `outputs` and `denoised`.
    reference: a context within which the network is the reference, where trajectories have a `reference` part.
    tick: called after every network call with the number of trajectories it took one step.
    """

    policy: Policy
    device: torch.device
    batch: int
    keeps_path: bool = True
    keeps_outputs: bool = False
    keeps_denoised: bool = False
    reference: Callable[[], AbstractContextManager[object]] | None = None
    tick: Callable[[int], None] = field(default=lambda n: None)

    @torch.no_grad()
    def sample(self, drawn: Drawn, plan: RolloutPlan) -> Trajectories:
        """One trajectory per prompt and seed; the plan has been followed in repeating the prompts.

        With branches, each run of `plan.branches` neighbours shares a prompt; its first `branch_step` steps are
        sampled once, with the noise of the first of them.
        """
        size = max(1, self.batch // plan.branches) * plan.branches
        conditioning = self._encoded(drawn.prompts)
        parts = []
        for start in range(0, len(drawn), size):
            rows = slice(start, start + size)
            index = torch.arange(len(drawn), device=self.device)[rows]
            parts.append(self._sample(drawn.part(rows), plan, take(conditioning, index)))
        return joined(parts)

    def _sample(self, drawn: Drawn, plan: RolloutPlan, conditioning: Conditioning) -> Trajectories:
        policy, schedule = self.policy, self.policy.schedule
        noise = Noise(drawn.seeds, policy.model.latent_shape, self.device)
        # The rows that are stepped: the first of each branch point until the branches part, then all.
        copies = plan.branches if plan.branch_step else 1
        stepped = torch.arange(0, len(drawn), copies, device=self.device)
        conditions = take(conditioning, stepped)
        x_t = noise.draw()[stepped]
        log_prior = _log_prior(x_t, schedule.reduction).repeat_interleave(copies, 0)
        record = Record(self)
        record.keep_state(x_t, copies)
        for k in range(schedule.steps):
            if k == plan.branch_step and copies > 1:
                x_t, conditions, copies = x_t.repeat_interleave(copies, 0), conditioning, 1
            transition = record.begin(k, x_t, conditions, copies)
            draws = noise.draw()
            x_t = transition.at(draws if copies == 1 else draws[stepped])
            record.end(x_t)
        branch = torch.arange(drawn.first, drawn.first + len(drawn), device=self.device) // plan.branches
        return record.trajectories(
            prompts=drawn.prompts,
            group=branch // plan.images_per_prompt,
            branch=branch,
            replayed=torch.zeros_like(branch, dtype=torch.bool),
            rewards=torch.zeros(len(drawn), device=self.device),
            log_prior=log_prior,
            epoch=drawn.epoch,
            epochs=drawn.epochs,
            latents={"conditioning": conditioning, "clean": policy.finish(x_t, conditioning)},
        )

    @torch.no_grad()
    def retrace(self, images: Trajectories, terminal: Tensor, seeds: Sequence[int]) -> Trajectories:
        """Trajectories that lead to given images: their states are drawn from the noising kernel, back to noise.

        images: b trajectories whose densities are not known yet. terminal: their terminal states, shape (b, *latent).
        log p_F and whatever else is recorded are those of the current policy.
        """
        conditioning = self._encoded(images.prompts)
        parts = []
        for start in range(0, len(seeds), self.batch):
            rows = slice(start, start + self.batch)
            index = torch.arange(len(seeds), device=self.device)[rows]
            parts.append(self._retrace(images.part(rows), terminal[rows], seeds[rows], take(conditioning, index)))
        return joined(parts)

    def _retrace(
        self, images: Trajectories, terminal: Tensor, seeds: Sequence[int], conditioning: Conditioning
    ) -> Trajectories:
        policy, schedule = self.policy, self.policy.schedule
        noise = Noise(seeds, policy.model.latent_shape, self.device)
        states = [terminal]
        for k in reversed(range(schedule.steps)):
            t, t_next = (schedule.times[i].expand(len(seeds)) for i in (k, k + 1))
            states.append(policy.noising(states[-1], t, t_next).at(noise.draw()))
        states.reverse()
        record = Record(self)
        record.keep_state(states[0])
        for k, (x_t, x_next) in enumerate(pairwise(states)):
            record.begin(k, x_t, conditioning)
            record.end(x_next)
        return record.trajectories(
            prompts=images.prompts,
            group=images.group,
            branch=images.branch,
            replayed=images.replayed,
            rewards=images.rewards,
            raw_rewards=images.raw_rewards,
            log_prior=_log_prior(states[0], schedule.reduction),
            epoch=images.epoch,
            epochs=images.epochs,
            latents={"conditioning": conditioning, "clean": images.latents.clean},
        )

    def _encoded(self, prompts: Sequence[Prompt]) -> Conditioning:
        """Each different text is encoded once."""
        texts = list(dict.fromkeys(prompt.text for prompt in prompts))
        place = {text: row for row, text in enumerate(texts)}
        rows = torch.tensor([place[prompt.text] for prompt in prompts], device=self.device)
        return take(self.policy.model.encode(texts), rows)


class Record:
    """What trajectories keep of each transition. Where branches are still one, a row stands for `copies` of them."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.columns: dict[str, list[Tensor]] = {}

    def keep_state(self, x: Tensor, copies: int = 1) -> None:
        self.copies = copies
        if self.sampler.keeps_path:
            self._keep("states", x)

    def begin(self, k: int, x_t: Tensor, conditions: Conditioning, copies: int = 1) -> Gaussian:
        """Calls the network at step k's state: p_F(x_t' | x_t)."""
        policy, times = self.sampler.policy, self.sampler.policy.schedule.times
        self.t, self.t_next = times[k].expand(len(x_t)), times[k + 1].expand(len(x_t))
        self.x_t, self.conditions, self.copies = x_t, conditions, copies
        guided, conditional = policy.outputs(x_t, self.t, conditions)
        if self.sampler.keeps_outputs:
            self._keep("outputs", guided)
        if self.sampler.keeps_denoised:
            self._keep("denoised", policy.clean_state(conditional, x_t, self.t)[0])
        self.transition = policy.transition(guided, x_t, self.t, self.t_next)
        return self.transition

    def end(self, x_next: Tensor) -> None:
        """Keeps the densities of the transition to x_t', and that state."""
        policy, reference = self.sampler.policy, self.sampler.reference
        if self.sampler.keeps_path:
            reduction = policy.schedule.reduction
            self._keep("log_pf_old", self.transition.log_prob(x_next, reduction))
            self._keep("log_pb", policy.noising(x_next, self.t, self.t_next).log_prob(self.x_t, reduction))
            if reference is not None:
                with reference():
                    output, _ = policy.outputs(self.x_t, self.t, self.conditions)
                    kernel = policy.transition(output, self.x_t, self.t, self.t_next)
                self._keep("log_pf_reference", kernel.log_prob(x_next, reduction))
            self._keep("states", x_next)
        self.sampler.tick(len(self.x_t) * self.copies)

    def trajectories(self, *, latents: Mapping[str, Any], **columns: Any) -> Trajectories:
        """The trajectories with what was kept, each of shape (b, T, ...)."""
        kept: dict[str, Any] = {name: torch.stack(rows, 1) for name, rows in self.columns.items()}
        none = columns["rewards"].new_zeros(len(columns["rewards"]), 0)
        reference = kept.pop("log_pf_reference", None)
        return Trajectories(
            log_pf_old=kept.pop("log_pf_old", none),
            log_pb=kept.pop("log_pb", none),
            parts={} if reference is None else {Needs.REFERENCE_PATH: ReferencePath(reference)},
            latents=Latents(**latents, **kept),
            **columns,
        )

    def _keep(self, name: str, rows: Tensor) -> None:
        self.columns.setdefault(name, []).append(rows.repeat_interleave(self.copies, 0))


def _log_prior(x_t: Tensor, reduction: Reduction) -> Tensor:
    """log N(x_t; 0, I), shape (n,)."""
    prior = Gaussian(torch.zeros_like(x_t), torch.ones((), device=x_t.device), checked=True)
    return prior.log_prob(x_t, reduction)


def decoded(policy: Policy, clean: Tensor, batch: int) -> Tensor:
    """What rewards see of clean states (n, *latent), decoded `batch` at a time, without gradient."""
    with torch.no_grad():
        return torch.cat([policy.model.decode(part) for part in clean.split(batch)])
