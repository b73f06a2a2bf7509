"""The README's table says what the options are."""

from __future__ import annotations

from pathlib import Path

import attrs

from dagsdk_nabla.options import NablaDBOptions

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_option_is_there_with_its_default_and_no_other() -> None:
    table = README.partition("| option | default |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    shown = {name.strip(" `"): default.strip(" `") for name, default in rows}
    assert shown == {option.name: str(option.default) for option in attrs.fields(NablaDBOptions)}
