"""The forward-looking part of log F: the reward that a state's x̂_0 already promises (arXiv 2406.00633, section 3.3)."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.config.schema import ForwardLookingConfig
from dagsdk.engine.policy import Policy
from dagsdk.engine.trajectory import Pairs, Trajectory
from dagsdk.errors import RewardError
from dagsdk.rewards.mixture import Mixture
from dagsdk.rewards.normalisation import rows


@frozen(eq=False)
class ForwardLooking:
    """r(decode(x̂_0(x_t)), c) of states, without gradient.

    recorded: x̂_0 is the conditional one that the sampler kept; each state is decoded and scored once an epoch.
    current: x̂_0 is recomputed with the current network for both ends of each transition, as the paper's code does.
    """

    policy: Policy
    reward: Mixture
    config: ForwardLookingConfig
    batch: int

    def score(self, clean: Tensor, trajectories: Trajectory, sample: Tensor, *, differentiable: bool = False) -> Tensor:
        """Scores of clean states (n, *latent), decoded and scored `batch` at a time: shape (n,).

        sample: which trajectory each is a state of, shape (n,); it has that one's prompt and scales.
        differentiable: whether a reward that lets no gradient through is an error (RewardError).
        """
        scores = []
        for part, index in zip(clean.split(self.batch), sample.split(self.batch), strict=True):
            prompts = [trajectories.prompts[i] for i in index.tolist()]
            each = self.reward.score_each(self.policy.family.decode(part), prompts, trained=True)
            for name in (name for name, own in each.items() if differentiable and not own.requires_grad):
                raise RewardError(
                    f"reward {name!r} returned scores without a gradient; an objective that needs REWARD_GRADIENT "
                    "takes rewards whose scores are differentiable functions of the images; choose others"
                )
            scores.append(self.reward.combine(each, rows(trajectories.scales, index)))
        return torch.cat(scores)

    def gradient(self, clean: Tensor, states: Tensor, trajectories: Trajectory, sample: Tensor) -> Tensor:
        """∇ of the score of clean states with respect to the states that they were computed from: float32, detached.

        Raises RewardError for a reward that lets no gradient through.
        """
        scores = self.score(clean, trajectories, sample, differentiable=True)
        return torch.autograd.grad(scores.sum(), states, retain_graph=True)[0].float()

    @torch.enable_grad()
    def gradient_next(self, trajectories: Trajectory, batch: Pairs) -> Tensor:
        """The same at the states that n transitions lead to: of x̂_0 by the current network, at the end of x_0."""
        gradients = torch.empty_like(batch.of(trajectories.states, 1))
        last = batch.step + 1 == trajectories.steps
        for chosen, at_the_end in ((last, True), (~last, False)):
            index = chosen.nonzero().squeeze(-1)
            if not len(index):
                continue
            within = Pairs(batch.sample[index], batch.step[index])
            states, conditioning = within.of(trajectories.states, 1).requires_grad_(), within.conditioning(trajectories)
            if at_the_end:
                clean = self.policy.finish(states, conditioning)
            else:
                t = self.policy.schedule.times[within.step + 1]
                output = self.policy.conditional_output(states, t, conditioning)
                clean = self.policy.clean_state(output, states, t)[0]
            gradients[index] = self.gradient(clean, states, trajectories, within.sample)
        return gradients

    @torch.no_grad()
    def record(self, trajectories: Trajectory, needed: Pairs) -> Tensor:
        """Potentials by state, shape (b, T + 1): rewards, the terminal one being the image's own score.

        Only states at either end of the needed transitions are scored; others hold 0.
        """
        assert trajectories.denoised is not None
        b, steps = trajectories.log_pf_old.shape
        wanted = torch.zeros(b, steps + 1, dtype=torch.bool, device=trajectories.states.device)
        wanted[needed.sample, self._held(needed.step)] = True
        following = needed.step + 1
        wanted[needed.sample, torch.where(following == steps, following, self._held(following))] = True
        potentials = torch.zeros(wanted.shape, device=wanted.device)
        samples, states = wanted[:, :steps].nonzero(as_tuple=True)
        if len(samples):
            potentials[samples, states] = self.score(trajectories.denoised[samples, states], trajectories, samples)
        held = self._held(torch.arange(steps, device=wanted.device))
        potentials = torch.cat([potentials[:, held], potentials[:, steps:]], dim=1)
        potentials[:, steps] = trajectories.scores
        return potentials

    def _held(self, step: Tensor) -> Tensor:
        """The scored state whose value a state has: with every = n, the last multiple of n."""
        return step - step % self.config.every

    @torch.no_grad()
    def current(
        self, trajectories: Trajectory, batch: Pairs, conditional: Tensor, x_t: Tensor, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Potentials at both ends of n transitions by the current network, each of shape (n,).

        conditional: the network's conditional output at x_t, which the update has computed already.
        """
        here = self.score(self.policy.clean_state(conditional.detach(), x_t, t)[0], trajectories, batch.sample)
        there = trajectories.scores[batch.sample].clone()
        inner = (batch.step + 1 < trajectories.steps).nonzero().squeeze(-1)
        if len(inner):
            within = Pairs(batch.sample[inner], batch.step[inner])
            x_next, t_next = within.of(trajectories.states, 1), self.policy.schedule.times[within.step + 1]
            output = self.policy.conditional_output(x_next, t_next, within.conditioning(trajectories))
            clean = self.policy.clean_state(output, x_next, t_next)[0]
            there[inner] = self.score(clean, trajectories, within.sample)
        return here, there
