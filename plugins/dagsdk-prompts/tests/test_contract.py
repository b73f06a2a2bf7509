"""The contract, by rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagsdk.testing import PluginContract, PromptSetContract


class TestPlugin(PluginContract):
    plugin = "prompts"


class TestAnimals(PromptSetContract):
    spec = "animals"


class TestAnimalActivities(PromptSetContract):
    spec = "animal-activities"


class TestCounting(PromptSetContract):
    spec = "counting"


class TestCountingPairs(PromptSetContract):
    spec = "counting"
    options = {"animals": 2}


class TestImagenet(PromptSetContract):
    spec = "imagenet"


class TestImagenetAnimals(PromptSetContract):
    spec = "imagenet-animals"


class TestImagenetDogs(PromptSetContract):
    spec = "imagenet-dogs"


class TestB2Activities(PromptSetContract):
    spec = "b2-activities"


class TestB2Colours(PromptSetContract):
    spec = "b2-colours"
    options = {"split": "all"}


class TestB2Relations(PromptSetContract):
    spec = "b2-relations"
    options = {"split": "all"}


class TestDrawBench(PromptSetContract):
    spec = "drawbench"


class TestHpd(PromptSetContract):
    spec = "hpdv2"


class TestParti(PromptSetContract):
    spec = "parti"


class TestFile(PromptSetContract):
    spec = "file"


class TestHub(PromptSetContract):
    spec = "hub"


@pytest.fixture(scope="module", autouse=True)
def _paths(drawbench_csv: Path, hpd_folder: Path, parti_tsv: Path, dataset_folder: Path) -> None:
    """Options that are not known before the files are there."""
    TestDrawBench.options = {"path": str(drawbench_csv)}
    TestHpd.options = {"path": str(hpd_folder)}
    TestParti.options = {"path": str(parti_tsv)}
    TestFile.options = {"path": str(drawbench_csv), "text_column": "Prompts"}
    columns = ["kind", "score", "tags"]
    TestHub.options = {"dataset": str(dataset_folder), "text_column": "caption", "metadata_columns": columns}
