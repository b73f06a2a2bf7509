"""GFlowNet objectives over whole trajectories and their pieces. Torch is loaded in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, ObjectiveSpec, hookimpl
from dagsdk_gfn.options import (
    RELATIVE_TB_NEEDS,
    SUBTB_NEEDS,
    TB_NEEDS,
    SubTrajectoryBalanceOptions,
    TrajectoryBalanceOptions,
    without_groups,
    without_looking,
)

if TYPE_CHECKING:
    from dagsdk.objectives.protocol import Objective


def build_tb(options: TrajectoryBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk_gfn.trajectory_balance import TrajectoryBalance

    return TrajectoryBalance(options)


def build_relative_tb(options: TrajectoryBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk_gfn.trajectory_balance import RelativeTrajectoryBalance

    return RelativeTrajectoryBalance(options)


def build_subtb(options: SubTrajectoryBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk_gfn.sub_trajectory_balance import SubTrajectoryBalance

    return SubTrajectoryBalance(options)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="tb",
        summary="Trajectory balance, log-variance form: samples p(x) ∝ exp(β r(x))",
        build=build_tb,
        options=TrajectoryBalanceOptions,
        needs=TB_NEEDS,
        unneeded=without_groups,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="relative-tb",
        summary="Trajectory balance relative to the model before training: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build=build_relative_tb,
        options=TrajectoryBalanceOptions,
        needs=RELATIVE_TB_NEEDS,
        unneeded=without_groups,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="subtb",
        summary="Sub-trajectory balance, SubTB(λ), with a flow network: samples p(x) ∝ exp(β r(x))",
        build=build_subtb,
        options=SubTrajectoryBalanceOptions,
        needs=SUBTB_NEEDS,
        unneeded=without_looking,
        off_policy=True,
    )
