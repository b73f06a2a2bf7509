"""Prompt sets: those of the papers, files of any size, and datasets on the Hub. Libraries load when one is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dagsdk import PromptSpec, hookimpl
from dagsdk_prompts import options as o


@hookimpl
def dagsdk_prompts() -> Iterable[PromptSpec[Any]]:
    yield PromptSpec(
        name="animals",
        summary="45 animals, as in DDPO and DAG",
        build="dagsdk_prompts.animals:names",
        options=o.AnimalsOptions,
    )
    yield PromptSpec(
        name="animal-activities",
        summary="45 animals with 3 activities each, with questions about the image",
        build="dagsdk_prompts.animals:activities",
    )
    yield PromptSpec(
        name="counting",
        summary="Numbers of animals, with questions about the image",
        build="dagsdk_prompts.animals:Counted",
        options=o.CountingOptions,
    )
    yield PromptSpec(
        name="imagenet",
        summary="Names of the 1000 ImageNet classes",
        build="dagsdk_prompts.imagenet:everything",
        options=o.ImagenetOptions,
    )
    yield PromptSpec(
        name="imagenet-animals",
        summary="Names of the 398 animals among the ImageNet classes",
        build="dagsdk_prompts.imagenet:animals",
        options=o.ImagenetOptions,
    )
    yield PromptSpec(
        name="imagenet-dogs",
        summary="Names of the 118 dogs among the ImageNet classes",
        build="dagsdk_prompts.imagenet:dogs",
        options=o.ImagenetOptions,
    )
    yield PromptSpec(
        name="b2-activities",
        summary="B2-DiffuRL's first template: animals and activities, split by which pairs are trained on",
        build="dagsdk_prompts.b2:activities",
        options=o.SplitOptions,
    )
    yield PromptSpec(
        name="b2-colours",
        summary="B2-DiffuRL's second template: fruits and vegetables in usual and unusual colours",
        build="dagsdk_prompts.b2:colours",
        options=o.ListOptions,
    )
    yield PromptSpec(
        name="b2-relations",
        summary="B2-DiffuRL's third template: two things and their position to each other",
        build="dagsdk_prompts.b2:relations",
        options=o.ListOptions,
    )
    yield PromptSpec(
        name="drawbench",
        summary="DrawBench from a CSV file or the Hub, split as in DAG",
        build="dagsdk_prompts.benchmarks:drawbench",
        options=o.DrawBenchOptions,
        weights=("dataset shunk031/DrawBench (10 kB)",),
    )
    yield PromptSpec(
        name="hpdv2",
        summary="The HPDv2 benchmark prompts from a folder or the Hub, split as in DAG",
        build="dagsdk_prompts.benchmarks:hpdv2",
        options=o.HpdOptions,
        weights=("dataset ymhao/HPDv2, benchmark/photo.json and benchmark/paintings.json (126 kB)",),
    )
    yield PromptSpec(
        name="parti",
        summary="PartiPrompts from a TSV or CSV file or the Hub",
        build="dagsdk_prompts.benchmarks:parti",
        options=o.PartiOptions,
        weights=("dataset nateraw/parti-prompts (123 kB)",),
    )
    yield PromptSpec(
        name="file",
        summary="A text, JSONL, CSV or TSV file of any size",
        build="dagsdk_prompts.file:PromptFile",
        options=o.FileOptions,
    )
    yield PromptSpec(
        name="hub",
        summary="A column of any dataset on the Hub",
        build="dagsdk_prompts.hub:HubPrompts",
        options=o.HubOptions,
        weights=("the dataset that the option dataset names",),
    )
