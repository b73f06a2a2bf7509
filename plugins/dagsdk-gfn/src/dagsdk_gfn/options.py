"""Options of the objectives, and what each needs. No torch here."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk import Needs


@frozen(kw_only=True)
class TrajectoryBalanceOptions:
    """Options of `tb` (arXiv 2201.13259) and `relative-tb` (arXiv 2405.20971).

    beta: β, how strongly the target prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    group: whose residuals are compared: those of the trajectories that share a prompt, or of the whole epoch, which
        is right where all prompts have the same normaliser Z.
    residual_clip: the centred residual is clamped to ± residual_clip; 0 switches the clamp off.
    """

    beta: float = field(default=1.0, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    group: Literal["prompt", "epoch"] = "prompt"
    residual_clip: float = field(default=0.0, validator=ge(0))


@frozen(kw_only=True)
class SubTrajectoryBalanceOptions:
    """Options of `subtb` (arXiv 2209.12782).

    beta: β, how strongly the target prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    lam: λ; a sub-trajectory of n steps has the weight λⁿ. Near 0 single steps count (detailed balance), from 1 on the
        long ones do (trajectory balance).
    forward_looking: whether log F of a state contains the reward at its x̂_0; without it the state flow has to learn
        all of log F, and no intermediate state is decoded.
    """

    beta: float = field(default=1.0, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    lam: float = field(default=0.9, validator=and_(gt(0), le(10)))
    forward_looking: bool = True


@frozen(kw_only=True)
class RewardWeightedOptions:
    """Options of `rwr` (arXiv 2302.12192, with exp(β r) as the weight).

    beta: β, how strongly the target prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    group: whose weights have mean 1: those of the images that share a prompt, so that all prompts count alike, or
        those of the whole epoch, so that prompts with higher rewards count for more. No weight exceeds the number of
        images in its group, so small groups tilt less than β says.
    """

    beta: float = field(default=1.0, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    group: Literal["prompt", "epoch"] = "prompt"


def compares_images(options: TrajectoryBalanceOptions | RewardWeightedOptions) -> bool:
    """Whether the images of a prompt are compared, so that an epoch must have several of each."""
    return options.group == "prompt"


def subtb_needs(options: SubTrajectoryBalanceOptions) -> frozenset[Needs]:
    """Without forward_looking, the engine decodes no intermediate states."""
    needs = {Needs.STATE_FLOW, Needs.STATE_FLOW_PATH}
    if options.forward_looking:
        needs.add(Needs.FORWARD_LOOKING)
    return frozenset(needs)
