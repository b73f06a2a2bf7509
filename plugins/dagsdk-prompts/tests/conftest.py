"""Small files in the formats of the published ones, with sentences of our own; no network, a cache of its own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

CATEGORIES = {
    "Colors": 25, "Conflicting": 10, "Counting": 19, "DALL-E": 20, "Descriptions": 20, '"Gary Marcus et al. "': 10,
    "Misspellings": 10, "Positional": 20, "Rare Words": 7, "Reddit": 38, "Text": 21,
}  # fmt: skip
"""Of the published DrawBench, with how many prompts each has."""

STYLES = ("anime", "concept-art", "paintings", "photo")


@pytest.fixture(scope="session", autouse=True)
def _offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets
    import huggingface_hub

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="session")
def drawbench_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawbench") / "drawbench.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Prompts", "Category"])
        for category, count in CATEGORIES.items():
            rows.writerows([f'{category}: sentence {i}, with "quotes",\nand two lines', category] for i in range(count))
    return path


@pytest.fixture(scope="session")
def hpd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hpdv2")
    for style in STYLES:
        (folder / f"{style}.json").write_text(json.dumps([f"{style} {i}" for i in range(800)]), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def parti_tsv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parti") / "PartiPrompts.tsv"
    lines = [
        "Prompt\tCategory\tChallenge\tNote",
        'a sign, "keep off"\tSigns\tBasic\t',
        '"yes" in neon\tSigns\tWriting\tx',
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset as the Hub has them: two splits as Parquet, with a label, a list, a number that is none, and a time."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    folder = tmp_path_factory.mktemp("dataset")
    kinds = Features(
        {
            "caption": Value("string"),
            "kind": ClassLabel(names=["plain", "odd"]),
            "score": Value("float64"),
            "tags": List(Value("string")),
            "when": Value("timestamp[s]"),
        }
    )
    for split, count in (("train", 30), ("test", 5)):
        rows = [
            {
                "caption": f"{split} {i}",
                "kind": i % 2,
                "score": float("nan") if i == 1 else i / 2,
                "tags": ["a"] * i,
                "when": 0,
            }
            for i in range(count)
        ]
        Dataset.from_list(rows, features=kinds).to_parquet(folder / f"{split}.parquet")
    return folder
