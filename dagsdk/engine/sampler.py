"""Samples trajectories from the policy: guided, batched, each from a seed of its own, without gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from attrs import field, frozen
from torch import Tensor

from dagsdk.engine.policy import Policy
from dagsdk.engine.seeds import Noise
from dagsdk.engine.trajectory import Trajectory, joined
from dagsdk.families.conditioning import Conditioning, take
from dagsdk.process.gaussian import Gaussian
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
        prior = Gaussian(torch.zeros_like(x_t), torch.ones((), device=self.device), checked=True)
        log_prior = prior.log_prob(x_t, schedule.reduction).repeat_interleave(copies, 0)
        states = [x_t.repeat_interleave(copies, 0)]
        outputs, denoised, log_pf, log_pb, log_reference = [], [], [], [], []
        for k in range(schedule.steps):
            if k == plan.branch_step and copies > 1:
                x_t, conditions, copies = x_t.repeat_interleave(copies, 0), conditioning, 1
            t, t_next = (schedule.times[i].expand(len(x_t)) for i in (k, k + 1))
            guided, conditional = policy.outputs(x_t, t, conditions)
            transition = policy.transition(guided, x_t, t, t_next)
            drawn = noise.draw()
            x_next = transition.at(drawn if copies == 1 else drawn[stepped])
            states.append(x_next.repeat_interleave(copies, 0))
            log_pf.append(transition.log_prob(x_next, schedule.reduction).repeat_interleave(copies, 0))
            kernel = policy.noising(x_next, t, t_next)
            log_pb.append(kernel.log_prob(x_t, schedule.reduction).repeat_interleave(copies, 0))
            if self.reference is not None:
                with self.reference():
                    told, _ = policy.outputs(x_t, t, conditions)
                density = policy.transition(told, x_t, t, t_next).log_prob(x_next, schedule.reduction)
                log_reference.append(density.repeat_interleave(copies, 0))
            if self.record_outputs:
                outputs.append(guided.repeat_interleave(copies, 0))
            if self.record_denoised:
                denoised.append(policy.clean_state(conditional, x_t, t)[0].repeat_interleave(copies, 0))
            x_t = x_next
            self.tick(len(x_t) * copies)
        return Trajectory(
            prompts=prompts,
            seeds=seeds,
            conditioning=conditioning,
            group=group,
            branch=branch,
            states=torch.stack(states, 1),
            clean=self._finish(x_t, conditioning),
            log_prior=log_prior,
            log_pf_old=torch.stack(log_pf, 1),
            log_pb=torch.stack(log_pb, 1),
            log_pf_reference=torch.stack(log_reference, 1) if log_reference else None,
            outputs=torch.stack(outputs, 1) if outputs else None,
            denoised=torch.stack(denoised, 1) if denoised else None,
            scores=torch.zeros(len(prompts), device=self.device),
            epoch=when[0],
            epochs=when[1],
        )

    def _finish(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        """The clean state: x_t itself, or the policy's mean at the tail of the schedule."""
        schedule = self.policy.schedule
        if schedule.tail is None:
            return x_t
        t, t_next = schedule.times[-1].expand(len(x_t)), schedule.tail.expand(len(x_t))
        guided, _ = self.policy.outputs(x_t, t, conditioning)
        return self.policy.transition(guided, x_t, t, t_next).mean


def decoded(policy: Policy, clean: Tensor, batch: int) -> Tensor:
    """What rewards see of clean states (n, *latent), decoded `batch` at a time, without gradient."""
    with torch.no_grad():
        return torch.cat([policy.family.decode(part) for part in clean.split(batch)])
