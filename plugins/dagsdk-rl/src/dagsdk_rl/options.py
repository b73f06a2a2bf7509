"""Options of the objectives, and what each needs. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, instance_of

from dagsdk import Needs


@frozen(kw_only=True)
class DDPOOptions:
    """Options of `ddpo` (arXiv 2305.13301).

    variant: "clip" is PPO's clipped ratio; "weighted" is reward-weighted regression, -w log p_F.
    tracking: whether a prompt's rewards are compared with its own latest rewards, or with those of the epoch.
    history: how many of a prompt's latest rewards are remembered, the current epoch's included.
    min_count: a prompt with fewer rewards is compared with the epoch instead; 0 means as many as history.
    advantage_clip: the standardised advantage is clamped to ± advantage_clip.
    clip_range: of "clip": the ratio is clipped to 1 ± clip_range (per dimension under the mean reduction).
    temperature: of "weighted": w is the softmax of advantage / temperature over the epoch, times the number of its
        trajectories.
    """

    variant: Literal["clip", "weighted"] = "clip"
    tracking: bool = True
    history: int = field(default=16, validator=[instance_of(int), ge(1)])
    min_count: int = field(default=0, validator=[instance_of(int), ge(0)])
    advantage_clip: float = field(default=5.0, validator=gt(0))
    clip_range: float = field(default=1e-4, validator=gt(0))
    temperature: float = field(default=1.0, validator=gt(0))

    @min_count.validator
    def _can_be_reached(self, attribute: Any, value: int) -> None:
        if value > self.history:
            raise ValueError(f"'min_count' must be <= history = {self.history}: {value}")


@frozen(kw_only=True)
class GRPOOptions:
    """Options of `grpo` (arXiv 2402.03300).

    std: what an advantage is divided by: the standard deviation within its prompt's group, or that of the whole batch
        of trajectories in the epoch.
    advantage_clip: the standardised advantage is clamped to ± advantage_clip.
    clip_range: the ratio is clipped to 1 ± clip_range (per dimension under the mean reduction).
    kl_weight: weight of the distance from the reference model; 0 switches it off, and its cost.
    kl: that distance: "x" is the KL divergence of each transition, "output" the mean squared gap between the outputs
        of the two networks.
    """

    std: Literal["group", "batch"] = "group"
    advantage_clip: float = field(default=5.0, validator=gt(0))
    clip_range: float = field(default=1e-4, validator=gt(0))
    kl_weight: float = field(default=0.0, validator=ge(0))
    kl: Literal["x", "output"] = "x"


def ddpo_needs(options: DDPOOptions) -> frozenset[Needs]:
    """Reward-weighted regression has no ratio."""
    return frozenset({Needs.OLD}) if options.variant == "clip" else frozenset()


def grpo_needs(options: GRPOOptions) -> frozenset[Needs]:
    """Without a weight, the engine makes no pass of the reference."""
    return frozenset({Needs.OLD, Needs.REFERENCE}) if options.kl_weight else frozenset({Needs.OLD})
