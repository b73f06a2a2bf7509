"""Prompts of a file of any size. Only the position of each entry, 8 bytes, is kept; entries are read on demand."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from attrs import define

from dagsdk import Prompt
from dagsdk_prompts.errors import PromptsError
from dagsdk_prompts.formats import Parse, Record, format_of, parser
from dagsdk_prompts.indexed import Indexed
from dagsdk_prompts.options import Blank, FileOptions
from dagsdk_prompts.reading import Lines, opened


@define
class Scan:
    """One pass over a file, which yields each record with the byte that it begins at, and checks all of it."""

    path: Path
    format: str = "auto"
    text_column: str = "text"
    blank: Blank = "error"
    parse: Parse | None = None
    """The parser of the records after the header; set when the pass begins."""

    def __call__(self, file: BinaryIO) -> Iterator[tuple[int, Record]]:
        lines = Lines(file, self.path)
        number = 1
        try:
            self.parse = parser(format_of(self.path, self.format), self.text_column, lines)
            records = self.parse(lines)
            while True:
                offset, number = lines.offset, lines.number
                if (record := next(records, None)) is None:
                    return
                if record[0].strip():
                    yield offset, record
                elif self.blank == "error":
                    raise ValueError('there is no text; remove the entry, or set blank = "skip"')
        except (ValueError, csv.Error) as error:
            raise PromptsError(f"{self.path}, line {number}: {error}") from error


def prompts(scan: Scan) -> list[Prompt]:
    """All prompts of a small file. Raises PromptsError."""
    with opened(scan.path) as file:
        found = [Prompt(*record) for _, record in scan(file)]
    if not found:
        raise PromptsError(f"{scan.path}: holds no prompt; it must hold at least one")
    return found


class PromptFile(Indexed):
    """The prompts of a file, in its order.

    Each read opens the file again, so that threads and forked processes share nothing. Raises PromptsError for a file
    that is missing, has no prompt or a wrong entry; and later, on reading, for one that has changed.
    """

    def __init__(self, options: FileOptions) -> None:
        scan = Scan(Path(options.path).expanduser(), options.format, options.text_column, options.blank)
        self._path = scan.path
        self._offsets = array("Q")
        with opened(self._path) as file:
            self._stamp = _stamp(file)
            for offset, _ in scan(file):
                self._offsets.append(offset)
                if len(self._offsets) == options.limit:
                    break
        if not self._offsets or scan.parse is None:
            raise PromptsError(f"{self._path}: holds no prompt; it must hold at least one")
        self._parse = scan.parse

    def __len__(self) -> int:
        return len(self._offsets)

    def at(self, index: int) -> Prompt:
        with opened(self._path) as file:
            if _stamp(file) != self._stamp:
                raise PromptsError(
                    f"{self._path}: its size or time of change is not the same as when the run began; entries are read "
                    "by their position: restore the file, or start a new run"
                )
            file.seek(self._offsets[index])
            return Prompt(*next(self._parse(Lines(file, self._path))))


def _stamp(file: BinaryIO) -> tuple[int, int]:
    """Size in bytes, and time of the last change in nanoseconds."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns
