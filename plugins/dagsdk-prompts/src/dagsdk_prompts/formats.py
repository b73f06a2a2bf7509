"""Text, JSON lines, CSV and TSV as records: pairs of a text and its metadata."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.reading import Lines, column, strict_json

Record = tuple[str, dict[str, Any]]
Parse = Callable[[Lines], Iterator[Record]]
"""Yields the records from the current line on, and reads no line ahead. Raises ValueError for a wrong record."""

SUFFIXES = {".txt": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv"}

DIALECTS: dict[str, dict[str, Any]] = {
    "csv": {"strict": True},
    "tsv": {"strict": True, "delimiter": "\t", "quoting": csv.QUOTE_NONE},  # quotation marks are part of the text
}


def format_of(path: Path, asked: str) -> str:
    """The format asked for; for "auto", that of the suffix. Raises PromptsError for an unknown suffix."""
    if asked != "auto":
        return asked
    if path.suffix.lower() not in SUFFIXES:
        raise PromptsError(
            f"{path}: the suffix {path.suffix!r} stands for no format; it must be one of {', '.join(SUFFIXES)}, or set "
            'format = "text", "jsonl", "csv" or "tsv"'
        )
    return SUFFIXES[path.suffix.lower()]


def parser(kind: str, text_column: str, lines: Lines) -> Parse:
    """The parser of a format. Reads the header, where there is one, from the lines."""
    match kind:
        case "text":
            return _texts
        case "jsonl":
            return partial(_objects, text_column=text_column)
    split = partial(csv.reader, **DIALECTS[kind])
    header = next(split(lines), [])
    if twice := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"the header has {', '.join(map(repr, sorted(twice)))} more than once; rename a column")
    try:
        text_column = column(text_column, header)
    except ValueError as error:
        raise ValueError(f"{error}; set text_column, or correct the header") from error
    return partial(_rows, split=split, header=header, text_column=text_column)


def _texts(lines: Lines) -> Iterator[Record]:
    return ((line.strip(), {}) for line in lines)


def _objects(lines: Lines, text_column: str) -> Iterator[Record]:
    for line in lines:
        entry = strict_json(line) if line.strip() else {text_column: ""}
        if not isinstance(entry, dict):
            raise ValueError(f"it is a {type(entry).__name__}; each line must be a JSON object")
        if text_column not in entry:
            there = ", ".join(map(repr, entry)) or "none"
            raise ValueError(f"there is no key {text_column!r}; there are {there}; set text_column")
        text = entry.pop(text_column)
        if not isinstance(text, str):
            raise ValueError(f"{text_column!r} is {text!r}; it must be a string")
        text.encode("utf-8")  # half of a surrogate pair is valid JSON, but cannot be written
        yield text, entry


def _rows(
    lines: Lines, split: Callable[[Lines], Iterator[list[str]]], header: list[str], text_column: str
) -> Iterator[Record]:
    for row in split(lines):
        if row and len(row) != len(header):
            raise ValueError(f"it has {len(row)} columns, and the header {len(header)}; quote what holds a delimiter")
        entry = dict(zip(header, row, strict=True)) if row else {text_column: ""}
        yield entry.pop(text_column), entry
