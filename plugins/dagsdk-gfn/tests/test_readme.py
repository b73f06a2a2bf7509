"""The README's tables say what the options are."""

from __future__ import annotations

from pathlib import Path

import attrs

from dagsdk_gfn import TrajectoryBalanceOptions

README = Path(__file__).parents[1] / "README.md"


def test_every_option_is_there_with_its_default() -> None:
    rows = [line.split("|")[1:3] for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    told = {name.strip(" `"): default.strip(" `") for name, default in rows}
    for option in attrs.fields(TrajectoryBalanceOptions):
        shown = f'"{option.default}"' if isinstance(option.default, str) else str(option.default)
        assert told.get(option.name) == shown
