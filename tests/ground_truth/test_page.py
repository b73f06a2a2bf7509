"""The pages' numbers are of the runs of settings.py, and the same on every page. `measure.py --all` makes them anew."""

from __future__ import annotations

import pytest
from fences import ROOT, tables
from report import measured_runs, table, variants_table
from settings import OBJECTIVES, VARIANTS
from target import TARGETS

PAGE = ROOT / "docs" / "explanation" / "ground-truth.md"
RESULTS = ROOT / "runs" / "ground-truth"


@pytest.mark.parametrize("target", TARGETS)
def test_every_objective_has_its_row(target: str) -> None:
    rows = tables(PAGE)[target]
    assert list(rows) == list(OBJECTIVES)
    exact = {f"{weight:.3f}" for weight in TARGETS[target].exact_weights().tolist()}
    for objective, row in rows.items():
        assert row["batches"] == str(OBJECTIVES[objective].get("train.epochs", 1200))
        assert row["exact"] in exact


def test_every_variant_has_its_row() -> None:
    rows = tables(PAGE)["Other settings"]
    assert list(rows) == [" ".join([objective, *settings]) for _, objective, settings in VARIANTS]
    for (target, objective, _), row in zip(VARIANTS, rows.values(), strict=True):
        assert row["target"] == target and row["without"] == tables(PAGE)[target][objective]["after"]


@pytest.mark.parametrize(("objective", "most"), [("tb", 0.15), ("relative-tb", 0.15), ("dag-db", 0.2), ("dag-kl", 0.2)])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_promised_is_what_was_measured(target: str, objective: str, most: float) -> None:
    assert float(tables(PAGE)[target][objective]["after"]) <= most


@pytest.mark.parametrize("plugin", ["gfn", "nabla"])
def test_plugins_say_the_same(plugin: str) -> None:
    rows = tables(ROOT / f"plugins/dagsdk-{plugin}/README.md")["Ground truth"]
    assert rows
    for objective, row in rows.items():
        for target in TARGETS:
            assert row[target] == tables(PAGE)[target][objective]["after"]


@pytest.mark.skipif(not RESULTS.is_dir(), reason="nothing was measured here; measure.py --all does it")
def test_what_was_measured_here_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(table(target, runs) in page for target, runs in measured_runs(RESULTS).items())
    assert variants_table(RESULTS) in page
