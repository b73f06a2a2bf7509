"""The policy p_F: the guided network as a Gaussian over the next state."""

from __future__ import annotations

from collections.abc import Callable

import torch
from attrs import frozen
from torch import Tensor

from dagsdk.engine.noise_scale import NoiseScale
from dagsdk.engine.precision import Precision
from dagsdk.engine.schedule import Schedule
from dagsdk.models.protocol import Model
from dagsdk.process.conditioning import Conditioning, concatenate
from dagsdk.process.gaussian import Gaussian
from dagsdk.process.prediction import align, denoise
from dagsdk.process.transition import forward_policy, noising_kernel


@frozen(eq=False)
class Policy:
    """A model's network under classifier-free guidance (arXiv 2207.12598), over one schedule.

    unconditional: conditioning of the empty prompt, one row.
    noise: trained factors of the noise, if there are any.
    conditional_output: the network without guidance, in the run's precision: states (n, *latent), times (n,) and
        conditioning to its output, float32. Densities are float32 or wider whatever the precision.
    """

    model: Model
    schedule: Schedule
    guidance_scale: float
    unconditional: Conditioning
    conditional_output: Callable[[Tensor, Tensor, Conditioning], Tensor]
    noise: NoiseScale | None = None

    def outputs(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
        """The guided and the conditional output at states (n, *latent) and times (n,), in one network call."""
        if self.guidance_scale == 1:
            conditional = self.conditional_output(x_t, t, conditioning)
            return conditional, conditional
        n = len(x_t)
        empty = {name: row.expand(n, *row.shape[1:]) for name, row in self.unconditional.items()}
        both = torch.cat([x_t, x_t]), t.repeat(2), concatenate([empty, conditioning])
        unconditional, conditional = self.conditional_output(*both).chunk(2)
        return unconditional + self.guidance_scale * (conditional - unconditional), conditional

    def clean_state(self, output: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x̂_0, ε̂) of an output at states (n, *latent) and times (n,)."""
        return denoise(self.model.prediction, output, x_t, self.model.path.alpha(t), self.model.path.sigma(t))

    def transition(self, output: Tensor, x_t: Tensor, t: Tensor, t_next: Tensor) -> Gaussian:
        """p_F(x_t' | x_t) for the guided output at x_t."""
        x0, eps = self.clean_state(output, x_t, t)
        # The schedule was verified, so the floor only spares every call a look at the variances.
        gaussian = forward_policy(
            self.model.path,
            x0,
            eps,
            t,
            t_next,
            self.schedule.eta,
            std_floor=self.schedule.std_floor,
            variance=self.schedule.variance,
        )
        if self.noise is None:
            return gaussian
        return gaussian.widened(align(self.noise(t), gaussian.mean))

    def noising(self, x_next: Tensor, t: Tensor, t_next: Tensor) -> Gaussian:
        """p_B(x_t | x_t')."""
        return noising_kernel(self.model.path, x_next, t, t_next, std_floor=self.schedule.std_floor)

    def finish(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        """What is decoded of terminal states (n, *latent): themselves, or the mean at the tail of the schedule."""
        if self.schedule.tail is None:
            return x_t
        t, t_next = self.schedule.times[-1].expand(len(x_t)), self.schedule.tail.expand(len(x_t))
        guided, _ = self.outputs(x_t, t, conditioning)
        return self.transition(guided, x_t, t, t_next).mean


def make_policy(
    model: Model,
    schedule: Schedule,
    guidance_scale: float,
    precision: Precision | None = None,
    noise: NoiseScale | None = None,
) -> Policy:
    """precision: what the network computes in; None means its own dtype."""
    predict = model.predict if precision is None else precision.of(model.predict)
    return Policy(model, schedule, guidance_scale, model.encode([""]), predict, noise)
