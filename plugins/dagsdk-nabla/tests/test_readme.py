"""The README's tables say what the options are."""

from __future__ import annotations

from pathlib import Path

import attrs

from dagsdk_nabla.options import NablaDBOptions

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_option_is_there_with_its_default() -> None:
    rows = [line.split("|")[1:3] for line in README.splitlines() if line.startswith("| `")]
    told = {name.strip(" `"): default.strip(" `") for name, default in rows}
    for option in attrs.fields(NablaDBOptions):
        shown = f'"{option.default}"' if isinstance(option.default, str) else str(option.default)
        assert told.get(option.name) == shown
