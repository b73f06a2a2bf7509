"""Datasets on the Hub: tables by the `datasets` library, memory-mapped; single files by huggingface_hub."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.compute as arrow
from datasets import ClassLabel, Dataset, load_dataset

from dagsdk import Prompt
from dagsdk.errors import brief
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.indexed import Indexed
from dagsdk_prompts.options import HubOptions
from dagsdk_prompts.reading import column


def hub_file(dataset: str, revision: str | None, name: str) -> Path:
    """One file of a dataset repository, from the cache or the Hub. Raises PromptsError."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(dataset, name, repo_type="dataset", revision=revision))
    except (OSError, ValueError) as error:  # no network, no such repository, revision or file, no valid id
        raise PromptsError(f"{name} of Hub dataset {dataset!r} {_unloaded(error)}") from error


class HubPrompts(Indexed):
    """Rows of a dataset as prompts; they stay on disk. Raises PromptsError if it cannot be loaded or has no prompt."""

    def __init__(self, options: HubOptions) -> None:
        where = f"Hub dataset {options.dataset!r}, split {options.split!r}"
        rows = _load(options, where)
        try:
            self._text = column(options.text_column, rows.column_names)
            self._metadata = [column(name, rows.column_names) for name in options.metadata_columns]
        except ValueError as error:
            raise PromptsError(f"{where}: {error}; set text_column and metadata_columns to those") from error
        rows = rows.select_columns([self._text, *(name for name in self._metadata if name != self._text)])
        self._labels = {name: kind for name, kind in rows.features.items() if isinstance(kind, ClassLabel)}
        if getattr(rows.features[self._text], "dtype", None) not in ("string", "large_string"):
            raise PromptsError(f"{where}: column {self._text!r} holds no strings; set text_column to one that does")
        self._where = where
        self._rows = _with_text(rows, self._text, options, where)
        self.at(0)  # metadata of a wrong kind shows in the first row

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, index: int) -> Prompt:
        row = self._rows[index]
        return Prompt(row[self._text], {name: self._plain(name, row[name]) for name in self._metadata})

    def _plain(self, name: str, value: Any) -> Any:
        if name in self._labels and value is not None:
            return self._labels[name].int2str(value)
        try:
            return plain(value)
        except TypeError as error:
            raise PromptsError(f"{self._where}: column {name!r} {error}; leave it out of metadata_columns") from error


def plain(value: Any) -> Any:
    """A value in types that JSON has; a number that is not finite becomes None. Raises TypeError for other types."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [plain(member) for member in value]
        case dict():
            return {str(key): plain(member) for key, member in value.items()}
    raise TypeError(f"holds a {type(value).__name__}, which JSON cannot hold")


def _load(options: HubOptions, where: str) -> Dataset:
    try:
        found = load_dataset(options.dataset, options.subset, split=options.split, revision=options.revision)
    except Exception as error:  # reading a format can raise anything
        raise PromptsError(f"{where}: {_unloaded(error)}") from error
    if not isinstance(found, Dataset):
        raise PromptsError(f"{where}: is a {type(found).__name__}, not one table; name one split")
    return found


def _with_text(rows: Dataset, text: str, options: HubOptions, where: str) -> Dataset:
    """The rows that have a text, up to the limit."""
    blank = [
        place
        for start, batch in enumerate(rows.select_columns([text]).with_format("arrow").iter(10_000))
        for place in _blank(batch[text], start * 10_000)
    ]
    if blank and options.blank == "error":
        raise PromptsError(f'{where}: row {blank[0]} has no text; set blank = "skip" to leave such rows out')
    if blank:
        rows = rows.select(sorted(set(range(len(rows))) - set(blank)))
    if not len(rows):
        raise PromptsError(f"{where}: holds no prompt; it must hold at least one")
    return rows.select(range(min(len(rows), options.limit or len(rows))))


def _blank(texts: Any, start: int) -> list[int]:
    """Indices of texts that are missing or blank; the first text has the index `start`."""
    length = arrow.utf8_length(arrow.utf8_trim_whitespace(texts))
    empty = arrow.fill_null(arrow.equal(length, 0), True)
    return [start + place for place in arrow.indices_nonzero(empty).to_pylist()]


def _unloaded(error: Exception) -> str:
    return (
        f"cannot be loaded: {brief(error)}; check its name, subset, split and revision, and that there is a network, "
        "or a copy in the cache"
    )
