"""The tables and the picture of docs/explanation/ground-truth.md, from what `measure.py` left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from settings import OBJECTIVES, VARIANTS
from target import BINS, EDGE, TARGETS

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "ground-truth.png"

Measured = dict[str, Any]


def result_file(results: Path, target: str, objective: str, settings: Sequence[str] = ()) -> Path:
    """Where a run's metrics are: nine-modes-dag-db-rollout.steps=12.json, of the settings 'rollout.steps=12'."""
    plain = (re.sub(r"[^\w.=-]", "", setting) for setting in settings)
    return results / ("-".join([target, objective, *plain]) + ".json")


def measured_runs(results: Path) -> dict[str, dict[str, Measured]]:
    """Target to objective to what was measured, as far as it was."""
    found: dict[str, dict[str, Measured]] = {}
    for target in TARGETS:
        files = {objective: result_file(results, target, objective) for objective in OBJECTIVES}
        found[target] = {o: json.loads(f.read_text(encoding="utf-8")) for o, f in files.items() if f.is_file()}
    return found


def table(target: str, runs: dict[str, Measured]) -> str:
    """Markdown, for one target: total variations, and the part whose weight is farthest from the exact one."""
    exact = TARGETS[target].exact_weights()
    heads = ["objective", "batches", "before", "after", "farthest part", "exact"]
    rows = []
    for objective, run in runs.items():
        after = run["after"]
        part = int((torch.tensor(after["weights"]) - exact).abs().argmax())
        rows.append(
            [
                f"`{objective}`",
                str(run["run"]["train"]["epochs"]),
                f"{run['before']['total_variation']:.3f}",
                f"{after['total_variation']:.3f}",
                f"{after['weights'][part]:.3f}",
                f"{exact[part]:.3f}",
            ]
        )
    floors = {f"exact samples are at {run['exact']['total_variation']:.3f}" for run in runs.values()}
    aims = {f"the aim of {o} is at {run['aim']['total_variation']:.3f}" for o, run in runs.items() if "aim" in run}
    return "\n".join([*markdown(heads, rows), "", "; ".join(sorted(floors | aims))])


def variants_table(results: Path) -> str:
    """Markdown: objectives under other settings, next to the runs of the other tables, as far as measured."""
    rows = []
    for target, objective, settings in VARIANTS:
        files = result_file(results, target, objective, settings), result_file(results, target, objective)
        if all(file.is_file() for file in files):
            read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
            after = [f"{measured['after']['total_variation']:.3f}" for measured in read]
            rows.append([f"`{' '.join([objective, *settings])}`", target, *after])
    return "\n".join(markdown(["run", "target", "after", "without"], rows))


def markdown(heads: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a table."""
    lines = ["| " + " | ".join(row) + " |" for row in [heads, *rows]]
    return [lines[0], "|---" * len(heads) + "|", *lines[1:]]


def save_picture(runs: dict[str, dict[str, Measured]], path: Path) -> None:
    """Two rows of histograms per target: exact masses, the model before, and after each objective."""
    names = ["exact", "before", *OBJECTIVES]
    columns = -(-len(names) // 2)
    figure = Figure(figsize=(1.7 * columns, 3.7 * len(runs)), dpi=100, layout="constrained")
    grid = figure.subplots(2 * len(runs), columns, squeeze=False).reshape(len(runs), 2 * columns)
    for axes in grid.flat:
        axes.set_axis_off()
    for panels, (target, measured) in zip(grid, runs.items(), strict=True):
        exact = TARGETS[target].exact_masses()
        shown = {"exact": (exact, "exact")}
        for name, run in measured.items():
            before, after = run["before"], run["after"]
            shown.setdefault("before", (torch.tensor(before["masses"]), f"before {before['total_variation']:.2f}"))
            shown[name] = torch.tensor(after["masses"]), f"{name} {after['total_variation']:.2f}"
        for panel, name in zip(panels, names, strict=False):
            if name in shown:
                masses, title = shown[name]
                bins = masses[:-1].view(BINS, BINS).T
                panel.imshow(bins.numpy(), origin="lower", extent=[-EDGE, EDGE] * 2, vmin=0, vmax=1.3 * exact.max())
                panel.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def write_report(results: Path) -> str:
    """Writes the picture and gives the tables: one per target, and one of the variants."""
    runs = {target: measured for target, measured in measured_runs(results).items() if measured}
    if not runs:
        raise SystemExit(f"{results} has no results; measure first: measure.py --all --results {results}")
    save_picture(runs, PICTURE)
    tables = [f"## {target}\n\n{table(target, measured)}" for target, measured in runs.items()]
    return "\n\n".join([*tables, f"## Other settings\n\n{variants_table(results)}"])
