"""The contract, by rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagsdk.testing import PluginContract, PromptSetContract


class TestPlugin(PluginContract):
    plugin = "prompts"
    strict = True


class TestAnimals(PromptSetContract):
    spec = "animals"
    strict = True


class TestAnimalActivities(PromptSetContract):
    spec = "animal-activities"
    strict = True


class TestCounting(PromptSetContract):
    spec = "counting"
    strict = True


class TestCountingPairs(PromptSetContract):
    spec = "counting"
    strict = True
    options = {"animals": 2}


class TestImagenet(PromptSetContract):
    spec = "imagenet"
    strict = True


class TestImagenetAnimals(PromptSetContract):
    spec = "imagenet-animals"
    strict = True


class TestImagenetDogs(PromptSetContract):
    spec = "imagenet-dogs"
    strict = True


class TestB2Activities(PromptSetContract):
    spec = "b2-activities"
    strict = True


class TestB2Colours(PromptSetContract):
    spec = "b2-colours"
    strict = True
    options = {"split": "all"}


class TestB2Relations(PromptSetContract):
    spec = "b2-relations"
    strict = True
    options = {"split": "all"}


class TestDrawBench(PromptSetContract):
    spec = "drawbench"
    strict = True


class TestHpd(PromptSetContract):
    spec = "hpdv2"
    strict = True


class TestParti(PromptSetContract):
    spec = "parti"
    strict = True


class TestFile(PromptSetContract):
    spec = "file"
    strict = True


class TestHub(PromptSetContract):
    spec = "hub"
    strict = True


@pytest.fixture(scope="module", autouse=True)
def _paths(drawbench_csv: Path, hpd_folder: Path, parti_tsv: Path, dataset_folder: Path) -> None:
    """Options that are not known before the files are there."""
    TestDrawBench.options = {"path": str(drawbench_csv)}
    TestHpd.options = {"path": str(hpd_folder)}
    TestParti.options = {"path": str(parti_tsv)}
    TestFile.options = {"path": str(drawbench_csv), "text_column": "Prompts"}
    columns = ["kind", "score", "tags"]
    TestHub.options = {"dataset": str(dataset_folder), "text_column": "caption", "metadata_columns": columns}
