"""Overrides from the command line: `train.epochs=3`, `rewards.0.weight=2`, `output=runs/other`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from dagsdk.config.mistakes import Mistake, shown


def overridden(run: Mapping[str, Any], overrides: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """A copy of `run` with the overrides applied in order, and one line for each that cannot be applied."""
    changed, problems = deepcopy(dict(run)), []
    for override in overrides:
        try:
            _apply(changed, override)
        except Mistake as mistake:
            problems.append(f"--set {override}: {mistake}")
    return changed, problems


def _apply(run: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals:
        raise Mistake("no '=' in it; write it as path=value, such as train.epochs=3")
    if not all(keys):
        raise Mistake(f"{path!r} is not a path of keys; write it as path=value, such as train.epochs=3")
    value = _value(text.strip())
    place: Any = run
    for depth, key in enumerate(keys):
        here, last = ".".join(keys[:depth]), depth == len(keys) - 1
        at: Any = _index(place, key, here) if isinstance(place, list) else key
        if not isinstance(place, (dict, list)):
            raise Mistake(f"{here} is {shown(place)}, which has no keys; end the path at {here}")
        if last:
            place[at] = value
        else:
            place = place.setdefault(at, {}) if isinstance(place, dict) else place[at]


def _index(place: list[Any], key: str, here: str) -> int:
    if not (key.isascii() and key.isdigit() and int(key) < len(place)):
        indices = ["it is empty: add an entry to the run file", "the only index is 0"]
        step = indices[len(place)] if len(place) < 2 else f"give an index from 0 to {len(place) - 1}"
        raise Mistake(f"{here} is an array, and {key!r} is not an index of it; {step}")
    return int(key)


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ("[", "{", '"', "'"):
            raise Mistake(f"the value is not valid TOML: {error}") from error
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
