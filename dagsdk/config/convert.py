"""The strict converter: tables of a run file to frozen classes, with every mistake found at once.

Two things only are converted: an integer where a number is wanted, and an array to a tuple.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter, IterableValidationError, override
from cattrs.errors import IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from dagsdk.config.mistakes import Mistake, not_one_of, out_of_range, shown, wrong_type

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]


def strict_converter() -> Converter:
    """A converter whose hooks raise `Mistake`, which cattrs collects in exception groups."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _exactly)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Path, _path)
    for belongs, factory in (
        (lambda kind: _base(kind) is Any, lambda kind, converter: _anything),
        (lambda kind: isinstance(kind, type) and issubclass(kind, Enum), _enumeration),
        (lambda kind: _base(kind) is Literal, _literal),
        (lambda kind: _base(kind) in (Union, UnionType), _union),
        (lambda kind: _base(kind) in _ARRAYS, _array),
        (lambda kind: _base(kind) in (dict, Mapping), _table),
        (lambda kind: isinstance(kind, type) and attrs.has(kind), attrs_class),
    ):
        converter.register_structure_hook_factory(belongs, factory)
    return converter


def plain(value: Any) -> Any:
    """The value in types that TOML has: a None is left out, and tuples, sets and paths become arrays and strings."""
    if isinstance(value, Mapping):
        return {key: plain(member) for key, member in value.items() if member is not None}
    if isinstance(value, Set):
        return sorted(plain(member) for member in value)
    if isinstance(value, (list, tuple)):
        return [plain(member) for member in value]
    return str(value) if isinstance(value, Path) else value


def attrs_class(cl: type[Any], converter: Converter, **overrides: Any) -> Hook:
    """Structures `cl` from a table. Ranges are checked field by field, so that one mistake hides no other."""
    fields = attrs.fields(attrs.resolve_types(cl))
    hooks = {a.name: override(struct_hook=_checked(a, converter)) for a in fields if a.init}
    structure = make_dict_structure_fn(cl, converter, **{**hooks, **overrides})

    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, cl):
            return value
        if not isinstance(value, Mapping):
            raise wrong_type(value, dict)
        return structure(value, cl)

    return hook


class _NotBuiltYet:
    """Stands for the instance in a validator. One that compares fields fails on it, and runs again on the real one."""


def _checked(attribute: attrs.Attribute[Any], converter: Converter) -> Hook:
    def hook(value: Any, kind: Any) -> Any:
        result = converter.structure(value, kind)
        if attribute.validator is not None and attribute.converter is None:
            try:
                with suppress(AttributeError):
                    attribute.validator(_NotBuiltYet(), attribute, result)
            except (ValueError, TypeError) as error:
                raise out_of_range(value, error) from error
        return result

    return hook


def _exactly(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise wrong_type(value, kind)
    return value


def _number(value: Any, _: Any) -> float:
    if type(value) not in (int, float):
        raise wrong_type(value, float)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise Mistake(f"{shown(value)} is not finite; it must be a finite number")
    return number


def _path(value: Any, _: Any) -> Path:
    if not isinstance(value, (str, Path)):
        raise wrong_type(value, str)
    return Path(value)


def _anything(value: Any, _: Any) -> Any:
    """For a field of type Any: what JSON can also hold."""
    if isinstance(value, (list, tuple)):
        return [_anything(member, Any) for member in value]
    if isinstance(value, Mapping):
        return {str(key): _anything(member, Any) for key, member in value.items()}
    if isinstance(value, float):
        return _number(value, float)
    if not isinstance(value, (bool, int, str)):
        raise wrong_type(value, str)
    return value


def _enumeration(kind: type[Enum], _: Converter) -> Hook:
    by_value = {member.value: member for member in kind}

    def hook(value: Any, _: Any) -> Any:
        for known, member in by_value.items():
            if value is member or (type(value) is type(known) and value == known):
                return member
        raise not_one_of(value, by_value)

    return hook


def _literal(kind: Any, _: Converter) -> Hook:
    choices = get_args(kind)

    def hook(value: Any, _: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise not_one_of(value, choices)
        return value

    return hook


def _union(kind: Any, converter: Converter) -> Hook:
    members = [member for member in get_args(kind) if member is not NoneType]

    def hook(value: Any, _: Any) -> Any:
        if value is None and NoneType in get_args(kind):
            return None
        if len(members) == 1:
            return converter.structure(value, members[0])
        # An integer stays one in `float | int`, whatever the order.
        for member in sorted(members, key=lambda member: member is not type(value)):
            with suppress(Mistake, ClassValidationError, IterableValidationError):
                return converter.structure(value, member)
        raise wrong_type(value, kind)

    return hook


_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    tuple: tuple, Sequence: tuple, list: list, set: set, frozenset: frozenset, Set: frozenset,
}  # fmt: skip


def _array(kind: Any, converter: Converter) -> Hook:
    members = get_args(kind) or (Any,)
    fixed = _base(kind) is tuple and get_args(kind) and members[-1] is not Ellipsis

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, (list, tuple, Set)):
            raise wrong_type(value, list)
        if fixed and len(value) != len(members):
            raise Mistake(f"{shown(value)} has {len(value)} values; it must have {len(members)}")
        kinds = members if fixed else [members[0]] * len(value)
        return _ARRAYS[_base(kind)](_each(converter, kind, enumerate(value), kinds))

    return hook


def _table(kind: Any, converter: Converter) -> Hook:
    of = (*get_args(kind), Any, Any)[1]

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, Mapping):
            raise wrong_type(value, dict)
        return dict(zip(value, _each(converter, kind, value.items(), [of] * len(value)), strict=True))

    return hook


def _each(converter: Converter, whole: Any, items: Iterable[tuple[int | str, Any]], kinds: Sequence[Any]) -> list[Any]:
    done, errors = [], []
    for (index, value), kind in zip(items, kinds, strict=True):
        try:
            done.append(converter.structure(value, kind))
        except Exception as error:
            error.add_note(IterableValidationNote(f"at index {index!r}", index, kind))
            errors.append(error)
    if errors:
        raise IterableValidationError(f"While structuring {whole}", errors, whole)
    return done


def _base(kind: Any) -> Any:
    return get_origin(kind) or kind
