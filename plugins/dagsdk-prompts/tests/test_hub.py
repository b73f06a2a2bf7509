"""Datasets, by a folder that is one; the same loading code takes an id of the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagsdk import Prompt
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.hub import HubPrompts
from dagsdk_prompts.options import HubOptions


def test_a_column_becomes_prompts_and_others_their_metadata(dataset_folder: Path) -> None:
    columns = ("kind", "score", "tags")
    made = HubPrompts(HubOptions(dataset=str(dataset_folder), text_column="caption", metadata_columns=columns))
    assert len(made) == 30
    assert made[2] == Prompt("train 2", {"kind": "plain", "score": 1.0, "tags": ["a", "a"]})
    assert made[1].metadata == {"kind": "odd", "score": None, "tags": ["a"]}  # JSON has no NaN
    assert [prompt.text for prompt in made[-2:]] == ["train 28", "train 29"]


def test_splits_and_limits(dataset_folder: Path) -> None:
    def texts(**options: Any) -> list[str]:
        made = HubPrompts(HubOptions(dataset=str(dataset_folder), text_column="Caption", **options))
        return [prompt.text for prompt in made]

    assert texts(split="test") == [f"test {i}" for i in range(5)]
    assert texts(split="train[10:13]") == ["train 10", "train 11", "train 12"]
    assert texts(limit=2) == ["train 0", "train 1"]
    assert len(texts(limit=99)) == 30


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "there is no column 'text'; there are 'caption', 'kind'"),
        ({"text_column": "caption", "metadata_columns": ("knd",)}, "there is no column 'knd'"),
        ({"text_column": "score"}, "column 'score' holds no strings"),
        ({"text_column": "caption", "metadata_columns": ("when",)}, "column 'when' holds a datetime"),
        ({"text_column": "caption", "split": "validation"}, "split 'validation'.*cannot be loaded"),
        ({"text_column": "caption", "subset": "other"}, "cannot be loaded"),
    ],
)
def test_what_is_not_there_is_one_clear_error(dataset_folder: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PromptsError, match=says):
        HubPrompts(HubOptions(dataset=str(dataset_folder), **options))


def test_rows_without_a_text(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"text": " "}\n{"text": null}\n{"text": "d"}\n')
    with pytest.raises(PromptsError, match="row 1 has no text"):
        HubPrompts(HubOptions(dataset=str(tmp_path)))
    made = HubPrompts(HubOptions(dataset=str(tmp_path), blank="skip"))
    assert [prompt.text for prompt in made] == ["a", "d"]


def test_a_dataset_without_a_text_at_all(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": ""}\n')
    with pytest.raises(PromptsError, match="holds no prompt"):
        HubPrompts(HubOptions(dataset=str(tmp_path), blank="skip"))


def test_without_a_network_or_a_copy_there_is_one_clear_error() -> None:
    with pytest.raises(PromptsError, match=r"Hub dataset 'someone/prompts', split 'train'.*cannot be loaded") as raised:
        HubPrompts(HubOptions(dataset="someone/prompts"))
    assert "\n" not in str(raised.value)
