"""Prompt sets: those of the papers, files of any size, and datasets of the Hub. Libraries load in `build` only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dagsdk import BuildContext, PromptSpec, hookimpl
from dagsdk.specs import NoOptions
from dagsdk_prompts import options as o

if TYPE_CHECKING:
    from dagsdk.prompts.protocol import PromptSet


def build_animals(options: o.AnimalsOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.animals import names

    return names(options.template)


def build_activities(options: NoOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.animals import activities

    return activities()


def build_counting(options: o.CountingOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.animals import Counted

    return Counted(options)


def build_imagenet(options: o.ImagenetOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.imagenet import EVERYTHING, names

    return names(options.template, EVERYTHING)


def build_imagenet_animals(options: o.ImagenetOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.imagenet import ANIMALS, names

    return names(options.template, ANIMALS)


def build_imagenet_dogs(options: o.ImagenetOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.imagenet import DOGS, names

    return names(options.template, DOGS)


def build_b2_activities(options: o.SplitOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.b2 import activities

    return activities(options.split)


def build_b2_colours(options: o.ListOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.b2 import colours

    return colours(options)


def build_b2_relations(options: o.ListOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.b2 import relations

    return relations(options)


def build_drawbench(options: o.DrawBenchOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.benchmarks import drawbench

    return drawbench(options)


def build_hpdv2(options: o.HpdOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.benchmarks import hpdv2

    return hpdv2(options)


def build_parti(options: o.PartiOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.benchmarks import parti

    return parti(options)


def build_file(options: o.FileOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.file import PromptFile

    return PromptFile(options)


def build_hub(options: o.HubOptions, context: BuildContext) -> PromptSet:
    from dagsdk_prompts.hub import HubPrompts

    return HubPrompts(options)


@hookimpl
def dagsdk_prompts() -> Iterable[PromptSpec[Any]]:
    yield PromptSpec(
        name="animals", summary="45 animals, as in DDPO and DAG", build=build_animals, options=o.AnimalsOptions
    )
    yield PromptSpec(
        name="animal-activities",
        summary="45 animals with 3 activities each, with questions to ask the image",
        build=build_activities,
    )
    yield PromptSpec(
        name="counting",
        summary="Animals in numbers, with questions to ask the image",
        build=build_counting,
        options=o.CountingOptions,
    )
    yield PromptSpec(
        name="imagenet", summary="Names of the 1000 ImageNet classes", build=build_imagenet, options=o.ImagenetOptions
    )
    yield PromptSpec(
        name="imagenet-animals",
        summary="Names of the 398 animals among the ImageNet classes",
        build=build_imagenet_animals,
        options=o.ImagenetOptions,
    )
    yield PromptSpec(
        name="imagenet-dogs",
        summary="Names of the 118 dogs among the ImageNet classes",
        build=build_imagenet_dogs,
        options=o.ImagenetOptions,
    )
    yield PromptSpec(
        name="b2-activities",
        summary="B2-DiffuRL's first template: animals and activities, split by which were seen together",
        build=build_b2_activities,
        options=o.SplitOptions,
    )
    yield PromptSpec(
        name="b2-colours",
        summary="B2-DiffuRL's second template: fruits and vegetables in usual and unusual colours",
        build=build_b2_colours,
        options=o.ListOptions,
    )
    yield PromptSpec(
        name="b2-relations",
        summary="B2-DiffuRL's third template: two things and where one is from the other",
        build=build_b2_relations,
        options=o.ListOptions,
    )
    yield PromptSpec(
        name="drawbench",
        summary="DrawBench from a CSV file or the Hub, split as in DAG",
        build=build_drawbench,
        options=o.DrawBenchOptions,
        weights=("dataset shunk031/DrawBench (10 kB)",),
    )
    yield PromptSpec(
        name="hpdv2",
        summary="The HPDv2 benchmark prompts from a folder or the Hub, split as in DAG",
        build=build_hpdv2,
        options=o.HpdOptions,
        weights=("dataset ymhao/HPDv2, benchmark/photo.json and benchmark/paintings.json (126 kB)",),
    )
    yield PromptSpec(
        name="parti",
        summary="PartiPrompts from a TSV or CSV file or the Hub",
        build=build_parti,
        options=o.PartiOptions,
        weights=("dataset nateraw/parti-prompts (123 kB)",),
    )
    yield PromptSpec(
        name="file",
        summary="A text, JSONL, CSV or TSV file of any size",
        build=build_file,
        options=o.FileOptions,
    )
    yield PromptSpec(
        name="hub",
        summary="A column of any dataset on the Hub",
        build=build_hub,
        options=o.HubOptions,
        weights=("the dataset that the option dataset names",),
    )
