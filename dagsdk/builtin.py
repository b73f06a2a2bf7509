"""The core's own components, through the hooks that every plugin uses. No torch is loaded before a build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import hookimpl
from dagsdk.families.options import VectorOptions
from dagsdk.objectives.options import DAG_DB_NEEDS, DAG_KL_NEEDS, DetailedBalanceOptions, KLOptions, unneeded
from dagsdk.prompts import texts
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.specs import BuildContext, ModelSpec, ObjectiveSpec, PromptSpec, RolloutSpec

if TYPE_CHECKING:
    from dagsdk.families.protocol import Family
    from dagsdk.objectives.protocol import Objective
    from dagsdk.rollouts.protocol import Rollout


def build_dag_db(options: DetailedBalanceOptions, context: BuildContext) -> Objective:
    from dagsdk.objectives.detailed_balance import DetailedBalance

    return DetailedBalance(options)


def build_dag_kl(options: KLOptions, context: BuildContext) -> Objective:
    from dagsdk.objectives.kl import KL

    return KL(options)


def build_independent(options: IndependentOptions, context: BuildContext) -> Rollout:
    from dagsdk.rollouts.independent import Independent

    return Independent(options)


def build_vector(options: VectorOptions, context: BuildContext) -> Family:
    from dagsdk.families.vector import Vector

    return Vector.build(options, context)


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="dag-db",
        summary="DAG-DB: detailed balance between neighbouring states (arXiv 2406.00633, section 3.1)",
        build=build_dag_db,
        options=DetailedBalanceOptions,
        needs=DAG_DB_NEEDS,
        unneeded=unneeded,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="dag-kl",
        summary="DAG-KL: that balance as a KL divergence, by policy gradient (arXiv 2406.00633, section 3.2)",
        build=build_dag_kl,
        options=KLOptions,
        needs=DAG_KL_NEEDS,
        unneeded=unneeded,
    )


@hookimpl
def dagsdk_rollouts() -> Iterable[RolloutSpec[Any]]:
    yield RolloutSpec(
        name="independent",
        summary="Independent trajectories from noise to image, all trained on, at every step",
        build=build_independent,
        options=IndependentOptions,
        images=lambda options: options.images_per_prompt,
    )


@hookimpl
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    yield ModelSpec(
        name="vector",
        summary="A small model of points in the plane, where the true answer is known",
        build=build_vector,
        options=VectorOptions,
    )


@hookimpl
def dagsdk_prompts() -> Iterable[PromptSpec[Any]]:
    yield PromptSpec(
        name="texts",
        summary="The prompts written in the run file",
        build=texts.build,
        options=texts.TextsOptions,
    )
