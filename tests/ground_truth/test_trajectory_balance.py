"""Whole-trajectory objectives, trained for a moment, go towards the target. `measure.py` trains them to the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from measure import measure, run_tables
from target import WEIGHTS

from dagsdk import BuildContext
from dagsdk.families.options import VectorOptions
from dagsdk.families.vector import Vector

pytest.importorskip("dagsdk_gfn", reason="trains with objectives of dagsdk-gfn")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    Vector.build(VectorOptions(), BuildContext()).save_network(folder)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "epochs", "near"), [("tb", 200, 0.2), ("relative-tb", 150, 0.3)])
def test_comes_near_the_target(pretrained: str, tmp_path: Path, objective: str, epochs: int, near: float) -> None:
    settings = [f"model.folder={pretrained!r}", "train.ema=0.97"]
    before, after, _ = measure(run_tables(objective, epochs, tmp_path, settings))
    assert before.total_variation > 0.35
    assert after.total_variation < near
    assert (after.modes - WEIGHTS).abs().max() < 0.07 < (before.modes - WEIGHTS).abs().max()
