"""The page of the Python API names everything that the code has, with its parameters and defaults, and nothing else."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from enum import EnumType
from typing import Any, get_args, get_origin

import attrs
import pytest
from fences import ROOT, tables

import dagsdk

PAGE = ROOT / "docs/reference/api.md"
TEXT = PAGE.read_text(encoding="utf-8")
TABLES = tables(PAGE)
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))
EVENTS = [name for name in dagsdk.__all__ if name.endswith("Event")]


def default(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, attrs.Factory):  # type: ignore[arg-type]
        return repr(value.factory())
    return value.__name__ if isinstance(value, type) else repr(value)


def called(function: Any) -> str:
    """The parameters of a function or class with their defaults, as the page writes them: ``(a, *, b=1)``."""
    fields = {field.name: field for field in attrs.fields(function)} if attrs.has(function) else {}
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=inspect.Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]
    text = str(inspect.Signature(parameters))
    for parameter in inspect.signature(function).parameters.values():
        given = fields[parameter.name].default if parameter.name in fields else parameter.default
        if given not in (inspect.Parameter.empty, attrs.NOTHING):
            text = re.sub(rf"(?<=[(, ]){parameter.name}(?=[,)])", f"{parameter.name}={default(given)}", text)
    return text


def written(name: str) -> str:
    """What stands in a public name's first block."""
    value = getattr(dagsdk, name)
    if origin := get_origin(value):
        return f"dagsdk.{name} = {origin.__name__}[{', '.join(argument.__name__ for argument in get_args(value))}]"
    if isinstance(value, EnumType):
        return f"class dagsdk.{name}: {', '.join(value.__members__)}"
    if name == "Run" or not (inspect.isfunction(value) or isinstance(value, type)) or name.endswith("Error"):
        return f"dagsdk.{name}"
    if isinstance(value, type) and not attrs.has(value):
        return f"class dagsdk.{name}: {', '.join(members(value))}"
    return f"dagsdk.{name}{called(value)}"


def members(kind: type) -> Iterable[str]:
    """Public attributes and methods of a class, in their order."""
    names = {**inspect.get_annotations(kind), **vars(kind)}
    return [name for name in names if not name.startswith("_") or name == "__call__"]


def test_every_public_name_has_a_section_and_no_other() -> None:
    assert sorted(SECTIONS) == sorted(dagsdk.__all__)


@pytest.mark.parametrize("name", dagsdk.__all__)
def test_a_section_has_the_signature_and_a_description(name: str) -> None:
    block, description = re.fullmatch(r"\n```text\n(.*?)\n```\n(.*)", SECTIONS[name], re.S).groups()  # type: ignore[union-attr]
    assert re.sub(r"\s+", " ", block).replace("( ", "(").replace(", )", ")") == written(name)
    prose = [paragraph for paragraph in description.split("\n\n") if paragraph.strip() and paragraph.strip()[0] != "|"]
    assert prose and len(prose[0]) > 40


@pytest.mark.parametrize("name", ["align", "train", "load", "reward"])
def test_every_parameter_is_explained(name: str) -> None:
    parameters = [p.name for p in inspect.signature(getattr(dagsdk, name)).parameters.values()]
    assert list(TABLES[f"`{name}`"]) == parameters
    assert all(row["meaning"] for row in TABLES[f"`{name}`"].values())


def test_every_member_of_a_run_is_explained() -> None:
    expected = []
    for name in members(dagsdk.Run):
        member = inspect.getattr_static(dagsdk.Run, name)
        expected.append(name if isinstance(member, property) else f"{name}{called(member)}")
    assert list(TABLES["`Run`"]) == expected


@pytest.mark.parametrize("name", EVENTS)
def test_every_field_of_an_event_is_explained(name: str) -> None:
    fields = [field.name for field in attrs.fields(getattr(dagsdk, name))]
    assert list(TABLES[f"`{name}`"]) == fields
