"""Options of the objectives, and what each asks of the engine. No torch here."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk.objectives.protocol import Needs

TB_NEEDS = frozenset({Needs.GROUPS})
RELATIVE_TB_NEEDS = TB_NEEDS | {Needs.REFERENCE_PATH}
SUBTB_NEEDS = frozenset({Needs.FLOW, Needs.FORWARD_LOOKING, Needs.FLOW_PATH})


@frozen(kw_only=True)
class TrajectoryBalanceOptions:
    """Options of `tb` and `relative-tb`.

    beta: β, how strongly the target prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    group: whose residuals are compared: those of the trajectories that share a prompt, or of the whole epoch, which
        is right where all prompts have the same normaliser Z.
    residual_clip: the centred residual is clamped to ± residual_clip; 0 leaves it as it is.
    """

    beta: float = field(default=1.0, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    group: Literal["prompt", "epoch"] = "prompt"
    residual_clip: float = field(default=0.0, validator=ge(0))


@frozen(kw_only=True)
class SubTrajectoryBalanceOptions:
    """Options of `subtb`.

    beta: β, how strongly the target prefers high rewards.
    beta_warmup: share of the epochs over which β rises linearly from 0; 0 means β from the start.
    lam: λ; a sub-trajectory of n steps weighs λⁿ. Near 0 single steps count (detailed balance), from 1 on the long
        ones do (trajectory balance).
    forward_looking: whether the flow of a state contains the reward at its x̂_0; without it the flow network has to
        learn all of log F, and no state on the way is scored.
    """

    beta: float = field(default=1.0, validator=gt(0))
    beta_warmup: float = field(default=0.0, validator=and_(ge(0), le(1)))
    lam: float = field(default=0.9, validator=and_(gt(0), le(10)))
    forward_looking: bool = True


def without_groups(options: TrajectoryBalanceOptions) -> frozenset[Needs]:
    return frozenset() if options.group == "prompt" else frozenset({Needs.GROUPS})


def without_looking(options: SubTrajectoryBalanceOptions) -> frozenset[Needs]:
    return frozenset() if options.forward_looking else frozenset({Needs.FORWARD_LOOKING})
