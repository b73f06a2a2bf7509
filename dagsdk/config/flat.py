"""Keys of a run file by their own name, without their section: what keyword arguments of the Python API are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import attrs

from dagsdk.config.components import KIND_OF, Specs
from dagsdk.config.files import structure_run
from dagsdk.config.schema import LoraConfig, RunConfig
from dagsdk.errors import ConfigError, DagsdkError
from dagsdk.suggestions import did_you_mean

MAIN = ("model", "objective", "rollout", "train")
"""A key that one of these sections has is meant to be there, even where another section has one of that name."""


def structure_with_keys(tables: Mapping[str, Any], keys: Mapping[str, Any], registry: Specs, source: str) -> RunConfig:
    """The run of these tables and keys. Raises ConfigError with every mistake in them; see `with_keys`."""
    run, problems = with_keys(tables, keys, registry)
    config = None
    try:
        config = structure_run(run, registry, source)
    except ConfigError as error:
        problems += error.problems
    if problems or config is None:
        raise ConfigError(source, problems)
    return config


def with_keys(tables: Mapping[str, Any], keys: Mapping[str, Any], registry: Specs) -> tuple[dict[str, Any], list[str]]:
    """The tables with each key put where it belongs, and a line for each that cannot be.

    keys: a key of the run file by its own name (``epochs=50``), with its section (``{"train.epochs": 50}``), or a whole
        section (``train={"epochs": 50}``), which is merged into the one that is there.
    registry: knows the options of the components that the tables name.
    A key is a mistake if nothing has it, if several sections have it, or if it is given twice.
    """
    result, problems = deepcopy(dict(tables)), []
    top = {field.name for field in attrs.fields(RunConfig)}
    given: dict[str, str] = {}
    # Whole sections first: they may name the component whose options the other keys are.
    for key, value in sorted(keys.items(), key=lambda item: item[0] not in top):
        places = [""] if key in top or "." in key else _places(key, result, registry)
        if len(places) != 1:
            problems.append(_problem(key, places, result, registry))
            continue
        path = f"{places[0]}.{key}".lstrip(".")
        problem = _put(result, path, value)
        if path in given:
            problem = f"{key}: {given[path]} is the same key; give one of them"
        given |= {path: key} | ({f"{path}.{inner}": key for inner in value} if isinstance(value, Mapping) else {})
        problems += [problem] if problem else []
    return result, problems


def _places(key: str, tables: Mapping[str, Any], registry: Specs) -> list[str]:
    """The sections that the key may belong to."""
    places = [section for section, names in _names(tables, registry) if key in names]
    return [place for place in places if place in MAIN] or places


def _names(tables: Mapping[str, Any], registry: Specs) -> Iterator[tuple[str, set[str]]]:
    """Each section and the keys that it takes, those of the component that it names included."""
    for section in attrs.fields(attrs.resolve_types(RunConfig)):
        cl = section.type
        if isinstance(cl, str) or not isinstance(cl, type) or not attrs.has(cl):
            continue
        names = {field.name for field in attrs.fields(cl)} - {"name", "options"}
        if cl in KIND_OF:
            names |= _options(tables.get(section.name, section.default), KIND_OF[cl], registry)
        yield section.name, names
    yield "model.lora", {field.name for field in attrs.fields(LoraConfig)}


def _options(table: Any, kind: str, registry: Specs) -> set[str]:
    name = table.get("name") if isinstance(table, Mapping) else getattr(table, "name", None)
    try:
        return {field.name for field in attrs.fields(registry.get(kind, name).options)} if name else set()
    except DagsdkError:
        return set()  # reported as an unknown component when the run is structured


def _problem(key: str, places: list[str], tables: Mapping[str, Any], registry: Specs) -> str:
    if places:
        written = " or ".join(f'{place}={{"{key}": ...}}' for place in places)
        return f"{key}: {' and '.join(f'[{place}]' for place in places)} have a key of this name; write {written}"
    known = sorted({name for _, names in _names(tables, registry) for name in names} | {*tables})
    hint = did_you_mean(key, known) or "docs/reference/run-file.md lists all keys"
    return f"{key}: no section of a run file has this key; {hint}"


def _put(tables: dict[str, Any], path: str, value: Any) -> str | None:
    """Sets the key at a dotted path; a mapping is merged into the one that is there. Returns what is wrong with it."""
    *sections, key = path.split(".")
    place: Any = tables
    for depth, name in enumerate(sections):
        inner = place.get(name)
        if isinstance(inner, list | tuple | str):
            here = ".".join(sections[: depth + 1])
            return f"{path}: {here} is {type(inner).__name__}, and has no key {key!r}; give {here} as a whole"
        place[name] = dict(inner or {})
        place = place[name]
    both = isinstance(value, Mapping) and isinstance(place.get(key), Mapping)
    place[key] = {**place[key], **value} if both else value
    return None
