"""Strict reading of text files: UTF-8 lines with their numbers, standard JSON, columns that exist."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from dagsdk_prompts.errors import PromptsError


def opened(path: Path) -> BinaryIO:
    """The file, opened after a byte order mark, if it has one. Raises PromptsError if it cannot be read."""
    try:
        file = path.open("rb")
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
    except FileNotFoundError as error:
        raise PromptsError(
            f"{path}: there is no such file; a relative path begins at the working directory, {Path.cwd()}"
        ) from error
    except OSError as error:
        raise PromptsError(f"{path}: cannot be read: {error.strerror or error}; give another file") from error
    return file


class Lines(Iterator[str]):
    """The decoded lines of a file from its current position on, with their line breaks.

    offset: the byte at which the next line begins.
    number: of that line, counted from 1.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.path = path
        self.offset = file.tell()
        self.number = 1
        self._file = file

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PromptsError(
                f"{self.path}, line {self.number}: byte {error.start + 1} is {line[error.start]:#04x}, which is not "
                "UTF-8 here; save the file as UTF-8"
            ) from error
        self.offset += len(line)
        self.number += 1
        return text


def strict_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError, also for NaN and infinities, which Python's own reader accepts."""
    try:
        return _STRICT.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _no_number(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a finite number")


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _no_number(number)


_STRICT = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def string_list(path: Path) -> list[str]:
    """The strings of a file that holds one JSON list of them. Raises PromptsError, also for a blank string."""
    with opened(path) as file:
        text = "".join(Lines(file, path))
    try:
        found = strict_json(text)
    except ValueError as error:
        raise PromptsError(f"{path}: is not JSON: {error}; it must hold one list of strings") from error
    if not isinstance(found, list):
        raise PromptsError(f"{path}: holds a {type(found).__name__}; it must hold one list of strings")
    for place, member in enumerate(found, 1):
        if not isinstance(member, str) or not member.strip():
            raise PromptsError(f"{path}: entry {place} is {member!r}; each must be a string with a text in it")
    if not found:
        raise PromptsError(f"{path}: the list is empty; it must hold at least one prompt")
    return found


def column(wanted: str, there: Iterable[str]) -> str:
    """The column of that name, in upper or lower case. Raises ValueError, with the names that there are."""
    names = list(there)
    if wanted in names:
        return wanted
    alike = [name for name in names if name.casefold() == wanted.casefold()]
    if len(alike) != 1:
        raise ValueError(f"there is no column {wanted!r}; there are {', '.join(map(repr, names)) or 'none'}")
    return alike[0]
