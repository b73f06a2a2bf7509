"""GFlowNet objectives over whole trajectories and their pieces, and reward-weighted likelihood on noised images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import Needs, ObjectiveSpec, hookimpl
from dagsdk_gfn.options import (
    RewardWeightedOptions,
    SubTrajectoryBalanceOptions,
    TrajectoryBalanceOptions,
    compares_images,
    subtb_needs,
)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="tb",
        summary="Trajectory balance, log-variance form: samples p(x) ∝ exp(β r(x))",
        build="dagsdk_gfn.trajectory_balance:TrajectoryBalance",
        options=TrajectoryBalanceOptions,
        compares_images=compares_images,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="relative-tb",
        summary="Trajectory balance relative to the model before training: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build="dagsdk_gfn.trajectory_balance:RelativeTrajectoryBalance",
        options=TrajectoryBalanceOptions,
        needs=frozenset({Needs.REFERENCE_PATH}),
        compares_images=compares_images,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="subtb",
        summary="Sub-trajectory balance, SubTB(λ), with a state flow: samples p(x) ∝ exp(β r(x))",
        build="dagsdk_gfn.sub_trajectory_balance:SubTrajectoryBalance",
        options=SubTrajectoryBalanceOptions,
        needs=subtb_needs,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="rwr",
        summary="Reward-weighted likelihood on noised images: samples p(x) ∝ p_ref(x) exp(β r(x))",
        build="dagsdk_gfn.reward_weighted:RewardWeightedLikelihood",
        options=RewardWeightedOptions,
        batches="denoisings",
        samples="reference",
        compares_images=compares_images,
        # its images must be samples of the reference, and those that replay keeps are the best ones
        off_policy=False,
    )
