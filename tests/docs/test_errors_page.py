"""docs/reference/errors.md has every class of error, and messages as they are."""

from __future__ import annotations

import inspect

import pytest
from fences import ROOT, tables

from dagsdk import errors

PAGE = tables(ROOT / "docs/reference/errors.md")
SOURCES = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "dagsdk").rglob("*.py")))


def test_every_class_is_a_row() -> None:
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert PAGE["Errors"].keys() == classes


@pytest.mark.parametrize("message", PAGE["Common ones"])
def test_messages_are_those_of_the_code(message: str) -> None:
    assert message in SOURCES
