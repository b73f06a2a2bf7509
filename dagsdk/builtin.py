"""The core's own components, through the hooks that every plugin uses. No torch is loaded before a build."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import hookimpl
from dagsdk.models.options import VectorOptions
from dagsdk.objectives.options import DetailedBalanceOptions, KLOptions, dag_db_needs, dag_kl_needs
from dagsdk.prompts import texts
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.specs import ModelSpec, ObjectiveSpec, PromptSpec, RolloutSpec


@hookimpl
def dagsdk_objectives() -> Iterable[ObjectiveSpec[Any]]:
    yield ObjectiveSpec(
        name="dag-db",
        summary="DAG-DB: detailed balance between neighbouring states (arXiv 2406.00633, section 3.1)",
        build="dagsdk.objectives.detailed_balance:DetailedBalance",
        options=DetailedBalanceOptions,
        needs=dag_db_needs,
        off_policy=True,
    )
    yield ObjectiveSpec(
        name="dag-kl",
        summary="DAG-KL: that balance as a KL divergence, by policy gradient (arXiv 2406.00633, section 3.2)",
        build="dagsdk.objectives.kl:KL",
        options=KLOptions,
        needs=dag_kl_needs,
    )


@hookimpl
def dagsdk_rollouts() -> Iterable[RolloutSpec[Any]]:
    yield RolloutSpec(
        name="independent",
        summary="Independent trajectories from noise to image, all trained on, at every step",
        build="dagsdk.rollouts.independent:Independent",
        options=IndependentOptions,
        images=lambda options: options.images_per_prompt,
    )


@hookimpl
def dagsdk_models() -> Iterable[ModelSpec[Any]]:
    yield ModelSpec(
        name="vector",
        summary="A small model of points in the plane, where the true answer is known",
        build="dagsdk.models.vector:Vector.build",
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
