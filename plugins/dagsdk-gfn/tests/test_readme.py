"""The README's tables say what the options are."""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from dagsdk_gfn import dagsdk_objectives
from dagsdk_gfn.options import RewardWeightedOptions, SubTrajectoryBalanceOptions, TrajectoryBalanceOptions

README = Path(__file__).parents[1] / "README.md"


def tables() -> list[dict[str, str]]:
    """Name to default, of each table of options."""
    found: list[dict[str, str]] = []
    inside = False
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("| option | default |"):
            inside = True
            found.append({})
        elif inside and line.startswith("| `"):
            name, default = (cell.strip(" `") for cell in line.split("|")[1:3])
            found[-1][name] = default
        inside = inside and line.startswith("|")
    return found


def test_every_option_is_there_with_its_default_and_no_other() -> None:
    classes = TrajectoryBalanceOptions, SubTrajectoryBalanceOptions, RewardWeightedOptions
    for shown, cls in zip(tables(), classes, strict=True):
        assert shown == {option.name: json.dumps(option.default) for option in attrs.fields(cls)}


def test_every_objective_is_there() -> None:
    shown = README.read_text(encoding="utf-8")
    assert all(f"| `{spec.name}` |" in shown for spec in dagsdk_objectives())
