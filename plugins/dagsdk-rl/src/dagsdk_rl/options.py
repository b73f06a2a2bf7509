"""Options of the objectives, and what each asks of the engine. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, instance_of

from dagsdk.objectives.protocol import Needs

DDPO_NEEDS = frozenset({Needs.OLD_LOG_PROB})
GRPO_NEEDS = DDPO_NEEDS | {Needs.GROUPS, Needs.REFERENCE}


@frozen(kw_only=True)
class DDPOOptions:
    """Options of `ddpo` (arXiv 2305.13301).

    variant: "clip" is PPO's clipped ratio; "weighted" is reward-weighted regression, -w log p_F.
    tracking: whether a prompt's scores are judged against its last ones; otherwise against the epoch's.
    history: how many of a prompt's last scores are remembered, those of the epoch among them.
    min_count: with fewer of them the epoch's mean and deviation stand in; 0 means as many as history.
    advantage_clip: the standardised advantage is clamped to ± advantage_clip.
    clip_range: of "clip": the ratio is clipped to 1 ± clip_range (a per-dimension figure under the mean reduction).
    temperature: of "weighted": w is the softmax of advantage / temperature over the epoch, times its trajectories.
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
    """Options of `grpo`.

    std: what an advantage is divided by: the deviation within its prompt's group, or that of the whole batch of
        trajectories that the epoch sampled.
    advantage_clip: the standardised advantage is clamped to ± advantage_clip.
    clip_range: the ratio is clipped to 1 ± clip_range (a per-dimension figure under the mean reduction).
    kl_weight: of the distance from the reference model; 0 switches it off, and its cost.
    kl: that distance: "x" is the KL divergence of each transition, "output" the mean squared gap of the network's
        outputs.
    """

    std: Literal["group", "batch"] = "group"
    advantage_clip: float = field(default=5.0, validator=gt(0))
    clip_range: float = field(default=1e-4, validator=gt(0))
    kl_weight: float = field(default=0.0, validator=ge(0))
    kl: Literal["x", "output"] = "x"


def unneeded_by_ddpo(options: DDPOOptions) -> frozenset[Needs]:
    return frozenset() if options.variant == "clip" else frozenset({Needs.OLD_LOG_PROB})


def unneeded_by_grpo(options: GRPOOptions) -> frozenset[Needs]:
    """Without a weight no pass with the adapter off is made."""
    return frozenset() if options.kl_weight else frozenset({Needs.REFERENCE})
