"""What the docstrings of option classes say about each option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import attrs


def option_docs(options: type[Any]) -> Mapping[str, str]:
    """Option to its text: the lines `name: text` in the docstrings of the class and its bases."""
    docs: dict[str, str] = {}
    names = [attribute.name for attribute in attrs.fields(options)]
    for base in reversed(options.__mro__):
        described: list[str] = []
        for line in inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines():
            start = re.match(r"(\w+(?:, \w+)*):\s+(\S.*)", line)
            if start and set(start[1].split(", ")) <= set(names):
                described = start[1].split(", ")
                docs.update(dict.fromkeys(described, start[2]))
            elif described and line.strip():  # the sentence continues
                docs.update({name: f"{docs[name]} {line.strip()}" for name in described})
            else:
                described = []
    return docs
