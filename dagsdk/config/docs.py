"""What docstrings of option classes say of each option."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

import attrs


def option_docs(options: type[Any]) -> Mapping[str, str]:
    """Docs of options: the lines `name: text` in the docstrings of the class and its bases."""
    docs: dict[str, str] = {}
    names = [attribute.name for attribute in attrs.fields(options)]
    for base in reversed(options.__mro__):
        told: list[str] = []
        for line in inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines():
            start = re.match(r"(\w+(?:, \w+)*):\s+(\S.*)", line)
            if start and set(start[1].split(", ")) <= set(names):
                told = start[1].split(", ")
                docs.update(dict.fromkeys(told, start[2]))
            elif told and line.strip():  # the sentence goes on
                docs.update({name: f"{docs[name]} {line.strip()}" for name in told})
            else:
                told = []
    return docs
