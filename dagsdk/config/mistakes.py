"""The words for mistakes in a run file, and a flat list of them from cattrs's tree of exceptions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from cattrs import BaseValidationError, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote

from dagsdk import suggestions


class Mistake(ValueError):
    """One mistake, in words for whoever wrote the run file. The notes of cattrs say where it is."""


def problems(error: Exception, path: str = "") -> Iterator[str]:
    """One line per mistake, each beginning with the path of its key: ``rewards[1].weight: ...``."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from problems(inner, path + _step(inner, path))
    elif isinstance(error, ForbiddenExtraKeysError):
        choices = [attribute.name for attribute in attrs.fields(error.cl)]
        for key in sorted(error.extra_fields):
            yield f"{_join(path, key)}: {unknown_key(key, choices)}"
    elif isinstance(error, KeyError):
        yield f"{path}: missing; {_how_to_give(path, error)}"
    elif (about := re.match(r"'(\w+)' ", str(error))) and not isinstance(error, Mistake):
        yield f"{_join(path, about[1])}: {error}"  # a validator that compares fields names the wrong one
    else:
        yield f"{path}: {error}" if path else str(error)


def noted(error: Exception, name: str, kind: Any = None) -> Exception:
    """`error`, marked as being about the attribute `name`, in the way of cattrs."""
    error.add_note(AttributeValidationNote(f"at attribute {name}", name, kind))
    return error


def shown(value: object) -> str:
    """`value` roughly as the run file writes it, shortened to 60 characters."""
    if isinstance(value, Mapping):
        return "{...}" if value else "{}"
    text = str(value).lower() if isinstance(value, bool) else str(value) if _is_date(value) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def wrong_type(value: object, kind: Any) -> Mistake:
    hint = ""
    if kind is str and not isinstance(value, (list, tuple, Mapping)):
        hint = "; write it in quotes"
    elif isinstance(value, str) and _LITERALS.get(kind, _NEVER).fullmatch(value):
        hint = "; write it without quotes"
    return Mistake(f"{shown(value)} is {_sort(value)}; it must be {wanted(kind)}{hint}")


def not_one_of(value: object, choices: Iterable[object]) -> Mistake:
    known = list(choices)
    return Mistake(f"{shown(value)} is not one of {', '.join(map(repr, known))}{did_you_mean(value, known)}")


def out_of_range(value: object, error: Exception) -> Mistake:
    """The mistake for what a validator of attrs, or one that words its errors alike, raised about `value`."""
    text = str(error.args[0]) if error.args else type(error).__name__
    if bound := re.match(r"'\w+' must be ([<>]=?) (.+): ", text, re.DOTALL):
        return Mistake(f"{shown(value)} is too {_size(bound[1])}; it must be {bound[1]} {bound[2]}")
    if length := re.match(r"Length of '\w+' must be ([<>]=?) (\d+): ", text):
        side = "short" if ">" in length[1] else "long"
        return Mistake(f"{shown(value)} is too {side}; its length must be {length[1]} {length[2]}")
    if len(error.args) == 4 and " must be in " in text:  # attrs.validators.in_
        return not_one_of(value, error.args[2])
    return Mistake(text if shown(value) in text else f"{shown(value)} is refused: {text}")


def unknown_key(key: str, choices: Iterable[str]) -> str:
    known = list(choices)
    listed = f"; the keys here are {', '.join(map(repr, known))}" if known else "; there are no keys here; remove it"
    return f"unknown key{did_you_mean(key, known) or listed}"


def did_you_mean(value: object, choices: Iterable[object]) -> str:
    """``; did you mean 'bf16'?``, or nothing where no choice is near."""
    texts = [choice for choice in choices if isinstance(choice, str)]
    hint = suggestions.did_you_mean(value, texts) if isinstance(value, str) else ""
    return f"; {hint}" if hint else ""


def wanted(kind: Any) -> str:
    """What messages call a value of the type `kind`."""
    origin, members = get_origin(kind) or kind, get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, members))
    if origin in (Union, UnionType):
        return " or ".join(wanted(member) for member in members if member is not NoneType)
    if isinstance(origin, type):
        for known, name in _NAMES.items():
            if issubclass(origin, known):
                return name
        if attrs.has(origin):
            return "a table"
    return "an array" if members else "a value"


_NAMES: dict[type, str] = {
    bool: "a boolean",  # before int, which it derives from
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "a table",
    Mapping: "a table",
    list: "an array",
    tuple: "an array",
    date: "a date",
    time: "a time",
    NoneType: "nothing",
}


_NEVER = re.compile(r"(?!)")
_LITERALS: dict[Any, re.Pattern[str]] = {
    bool: re.compile(r"true|false"),
    int: re.compile(r"[+-]?\d+"),
    float: re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?"),
}
"""Strings that would be right without the quotes around them."""


def _sort(value: object) -> str:
    return next((name for kind, name in _NAMES.items() if isinstance(value, kind)), f"a {type(value).__name__}")


def _size(comparison: str) -> str:
    return "small" if comparison.startswith(">") else "large"


def _is_date(value: object) -> bool:
    return isinstance(value, (date, time))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _step(error: Exception, path: str) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}" if path else note.name
        if isinstance(note, IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""


def _how_to_give(path: str, error: KeyError) -> str:
    key = path.rpartition(".")[2]
    kind = next((note.type for note in getattr(error, "__notes__", ()) if hasattr(note, "type")), None)
    members = get_args(kind)
    if attrs.has(kind if isinstance(kind, type) else NoneType):
        return f"add a [{path}] table"
    if members and isinstance(members[0], type) and attrs.has(members[0]):
        return f"add a [[{path}]] table"
    return f"give {key} = {wanted(kind)}"
