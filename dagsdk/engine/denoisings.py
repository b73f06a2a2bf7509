"""Noises images afresh and denoises them with the current weights: the forward process, as an objective sees it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.pairs import Pairs
from dagsdk.engine.policy import Policy
from dagsdk.engine.seeds import DENOISING, TIMES, Noise, derived, generator
from dagsdk.engine.trained import Trained
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Denoisings, Signals
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.process.prediction import align, network_target


@frozen(eq=False, kw_only=True)
class DenoisingBuilder:
    """Fills `Denoisings` with what an objective needs, and nothing else.

    count: how many times each image is noised per pass; times are stratified over the path.
    seed: of the run. process: the number of this process.
    """

    policy: Policy
    trained: Trained
    needs: frozenset[Needs]
    count: int
    seed: int
    process: int = 0

    def start(self, trajectories: Trajectories, signals: Signals, everything: Pairs) -> Callable[[Pairs], Denoisings]:
        """For an epoch's updates, which will see `everything`: what builds the denoisings of a micro-batch."""
        times = self._times(trajectories)
        contexts: dict[Needs, Callable[[], AbstractContextManager[Any]]] = {}
        if Needs.OLD_OUTPUT in self.needs:
            sampled_by = self.trained.snapshot()
            contexts[Needs.OLD_OUTPUT] = lambda: self.trained.at(sampled_by)
        if Needs.REFERENCE in self.needs:
            contexts[Needs.REFERENCE] = self.trained.reference

        def build(batch: Pairs) -> Denoisings:
            """n images noised as their pairs say, under the current weights, with gradient."""
            model = self.policy.model
            clean, t, noise = (
                trajectories.latents.clean[batch.sample],
                times[batch.sample, batch.step],
                self._noise(trajectories, batch),
            )
            alpha, sigma = model.path.alpha(t).float(), model.path.sigma(t).float()
            x_t = align(alpha, clean) * clean + align(sigma, clean) * noise
            conditioning = batch.conditioning(trajectories)
            parts = {}
            for need, context in contexts.items():  # first, since a context may stand in for the weights of the graph
                with context(), torch.no_grad():
                    parts[need] = self.policy.conditional_output(x_t, t, conditioning)
            log_reward = signals.beta * trajectories.rewards[batch.sample]
            return Denoisings(
                output=self.policy.conditional_output(x_t, t, conditioning),
                target=network_target(model.prediction, clean, noise, alpha, sigma),
                noise=noise,
                x_t=x_t,
                alpha=alpha,
                sigma=sigma,
                signal=signals.of(batch.sample, batch.step, log_reward),
                log_reward=log_reward,
                group=trajectories.group[batch.sample],
                parts=parts,
            )

        return build

    def _times(self, trajectories: Trajectories) -> Tensor:
        """Times of b images: shape (b, count), one from each of `count` equal strata of the path."""
        draws = generator(derived(self.seed, TIMES, trajectories.epoch, self.process))
        share = (torch.arange(self.count) + torch.rand(len(trajectories), self.count, generator=draws)) / self.count
        return self.policy.model.path.time_at(share.clamp(max=1 - 1e-6)).to(trajectories.rewards.device)

    def _noise(self, trajectories: Trajectories, batch: Pairs) -> Tensor:
        """ε of each pair from a seed of its own, so that it does not depend on the size of a micro-batch."""
        seeds = [
            derived(self.seed, DENOISING, trajectories.epoch, self.process, *pair)
            for pair in zip(batch.sample.tolist(), batch.step.tolist(), strict=True)
        ]
        return Noise(seeds, self.policy.model.latent_shape, trajectories.rewards.device).draw()
