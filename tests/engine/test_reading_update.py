"""How much of the engine a reader of one update must follow: few functions, in few modules."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tiny_run import Versions, components, config

import dagsdk.engine
from dagsdk.run.trainer import Trainer

ENGINE = Path(dagsdk.engine.__file__).parent
MATHEMATICS = {"policy"}
"""The policy's own mathematics, which reads by itself."""
FUNCTIONS, MODULES = 12, 5
"""At most. Before the engine was put in order there were 32 in 11."""


def visited(call: Callable[[], Any]) -> set[tuple[str, str]]:
    """(module, function) of the engine that run within a call. Lambdas and comprehensions are part of theirs."""
    found: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.parent == ENGINE and file.stem not in MATHEMATICS:
            found.add((file.stem, frame.f_code.co_qualname.partition(".<locals>.<")[0]))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.xfail(reason="it is more today", strict=True)
def test_one_update_is_read_in_few_places(tmp_path: Path) -> None:
    """Of DAG-DB with all its parts: from its second epoch on, β is not 0 and states on the way are rewarded."""
    made = config(tmp_path / "run", epochs=2, micro_batch=24, updates=1)
    run = Trainer(made, Versions(), components=components(tmp_path / "model"))
    update = run.engine.updater.update
    places: set[tuple[str, str]] = set()

    def traced(*given: Any) -> dict[str, Any]:
        found: list[dict[str, Any]] = []
        places.clear()
        places.update(visited(lambda: found.append(update(*given))))
        return found[0]

    run.engine.updater.update = traced
    assert [line["transitions"] for line in run] == [24, 24]
    assert ("update", "Updater.update") in places
    modules = {module for module, _ in places}
    assert len(places) <= FUNCTIONS and len(modules) <= MODULES, sorted(places)
