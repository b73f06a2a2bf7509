"""GFlowNet objectives over whole trajectories. Torch is loaded in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from dagsdk import BuildContext, ObjectiveSpec, hookimpl
from dagsdk.objectives.protocol import Needs

if TYPE_CHECKING:
    from dagsdk.objectives.protocol import Objective

TB_NEEDS = frozenset({Needs.GROUPS})
RELATIVE_TB_NEEDS = TB_NEEDS | {Needs.REFERENCE_PATH}


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


def build_tb(options: TrajectoryBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk_gfn.trajectory_balance import TrajectoryBalance

    return TrajectoryBalance(options)


def build_relative_tb(options: TrajectoryBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk_gfn.trajectory_balance import RelativeTrajectoryBalance

    return RelativeTrajectoryBalance(options)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[TrajectoryBalanceOptions]]:
    yield ObjectiveSpec(
        name="tb",
        summary="Trajectory balance, log-variance form: samples p(x) ∝ exp(β r(x))",
        build=build_tb,
        options=TrajectoryBalanceOptions,
        needs=TB_NEEDS,
    )
    yield ObjectiveSpec(
        name="relative-tb",
        summary="Trajectory balance relative to the model before training: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build=build_relative_tb,
        options=TrajectoryBalanceOptions,
        needs=RELATIVE_TB_NEEDS,
    )
