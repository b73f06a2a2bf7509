"""The tables and the picture of `compare.py`, from the runs so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from attrs import frozen
from matplotlib.figure import Figure
from measuring import markdown

Run = Mapping[str, Any]
"""What `compare_runs.run` returned."""
Results = dict[str, dict[str, list[Run]]]
"""Task to method to runs. "base" comes first and has one run of one evaluation."""
Curve = list[tuple[float, float]]
"""Trajectories and value, in the order of trajectories."""

MEASURES = {"reward": "reward", "entropy": "entropy of background and size, nats", "distance": "distance of pictures"}
COLOURS = {
    "ddpo": "tab:blue", "grpo": "tab:cyan", "dag-db": "tab:red", "dag-kl": "tab:orange", "relative-tb": "tab:green",
    "b2 + ddpo": "tab:blue", "b2 + dag-db": "tab:red",
}  # fmt: skip
LEVELS: dict[str, Callable[[Curve], float]] = {
    "last": lambda line: line[-1][1],
    "best": lambda line: max(value for _, value in line[1:]),
}
"""Which of DDPO's evaluations the others are compared with."""


def curve(runs: Sequence[Run], base: Run, measure: str) -> Curve:
    """The mean over runs at each evaluation that all have, beginning with the base model's at 0."""
    rows = zip(*(run["evaluations"] for run in runs), strict=False)
    means = [(row[0]["trajectories"], fmean(each[measure] for each in row)) for row in rows]
    return [(0, base["evaluations"][0][measure]), *means]


def reached(line: Curve, level: float) -> float | None:
    """How many trajectories it took to come to the level first, by straight lines between evaluations."""
    if line[0][1] >= level:
        return line[0][0]
    for (x0, y0), (x1, y1) in pairwise(line):
        if y1 >= level:
            return x0 + (x1 - x0) * (level - y0) / (y1 - y0)
    return None


def at(line: Curve, trajectories: float) -> float:
    """The value there, by straight lines between evaluations."""
    for (x0, y0), (x1, y1) in pairwise(line):
        if trajectories <= x1:
            return y0 + (y1 - y0) * (trajectories - x0) / (x1 - x0)
    return line[-1][1]


@frozen
class Arrival:
    """Where a method came to the level of a rival.

    trajectories: how many it took.
    share: of what it took the rival to come there first; 1 where the base has that level.
    entropy, rivals_entropy: of the pictures, each at its own arrival.
    """

    trajectories: float
    share: float
    entropy: float
    rivals_entropy: float


def arrival(runs: Sequence[Run], rivals: Sequence[Run], base: Run, level: Callable[[Curve], float]) -> Arrival | None:
    """Of the mean curve of `runs` at the level of the rivals' mean curve; None where it never came there."""
    theirs = curve(rivals, base, "reward")
    used, needed = reached(curve(runs, base, "reward"), level(theirs)), reached(theirs, level(theirs))
    if used is None or needed is None:
        return None
    entropies = [at(curve(each, base, "entropy"), x) for each, x in ((runs, used), (rivals, needed))]
    return Arrival(used, used / needed if needed else 1.0, *entropies)


def report(results: Results) -> str:
    """Markdown: two tables per task: how its runs ended, and when they reached DDPO's levels."""
    tables = []
    for task, methods in results.items():
        tables.append(markdown(_ends(task, methods)))
        if "ddpo" in methods:
            tables.append(markdown(_arrivals(task, methods)))
    return "\n".join(tables)


def _ends(task: str, methods: Mapping[str, Sequence[Run]]) -> Iterator[list[str]]:
    """Means over seeds, with the least and the greatest.

    Then in how many seeds reward and entropy are above DDPO's; medians of transitions trained on, and of seconds.
    """
    measures = ("reward", "full", "entropy", "distance")
    yield [task, "seeds", "reward", "full matches", "entropy", "distance", "above DDPO", "transitions", "seconds"]
    first = methods["base"][0]["evaluations"][0]
    yield ["base", "", *(f"{first[measure]:.3f}" for measure in measures), "", "", ""]
    for method, runs in _trained(methods):
        cells = [_spread([run["evaluations"][-1][measure] for run in runs]) for measure in measures]
        pairs = [(run["evaluations"][-1], rival["evaluations"][-1]) for run, rival in _pairs(methods, method)]
        above = ", ".join(str(sum(own[m] > theirs[m] for own, theirs in pairs)) for m in ("reward", "entropy"))
        costs = [f"{median(run[cost] for run in runs):.0f}" for cost in ("transitions", "seconds")]
        yield [method, str(len(runs)), *cells, "" if method == "ddpo" else above, *costs]


def _arrivals(task: str, methods: Mapping[str, Sequence[Run]]) -> Iterator[list[str]]:
    """For each level, of the mean curves; then how many seeds arrive, each against DDPO's run of the same seed."""
    [base], rivals = methods["base"], methods["ddpo"]
    aims = {name: level(curve(rivals, base, "reward")) for name, level in LEVELS.items()}
    columns = [(f"to DDPO's {name}, {aim:.3f}", "entropy", "seeds, halved, varied") for name, aim in aims.items()]
    yield [task, *(cell for column in columns for cell in column)]
    for method, runs in _trained(methods):
        row = [method]
        for level in LEVELS.values():
            found = arrival(runs, rivals, base, level)
            row += [f"{found.trajectories:.0f} ({found.share:.0%})", f"{found.entropy:.3f}"] if found else ["never", ""]
            seeds = [one for run, rival in _pairs(methods, method) if (one := arrival([run], [rival], base, level))]
            halved = sum(one.share <= 0.5 for one in seeds)
            varied = sum(one.entropy > one.rivals_entropy for one in seeds)
            row.append("" if method == "ddpo" else f"{len(seeds)}, {halved}, {varied}")
        yield row


def _trained(methods: Mapping[str, Sequence[Run]]) -> Iterator[tuple[str, Sequence[Run]]]:
    return ((method, runs) for method, runs in methods.items() if method != "base")


def _pairs(methods: Mapping[str, Sequence[Run]], method: str) -> list[tuple[Run, Run]]:
    """The method's runs, each with DDPO's of its seed."""
    rivals = {run["run"]["seed"]: run for run in methods.get("ddpo", [])}
    return [(run, rivals[seed]) for run in methods[method] if (seed := run["run"]["seed"]) in rivals]


def tuning_report(tried: Mapping[str, Mapping[float, float]], knobs: Mapping[str, tuple[str, Sequence[float]]]) -> str:
    """A Markdown table: the mean reward for each value of a method's knob, the chosen one in bold.

    tried: method to value to mean reward.
    knobs: method to the knob's name and the candidates; other values are not chosen.
    """
    rows = [["method", "tuned", "value: mean reward"]]
    for method, rewards in tried.items():
        key, candidates = knobs[method]
        best = max(candidates, key=lambda value: rewards.get(value, float("-inf")))
        cells = {value: f"{value:g}: {reward:.3f}" for value, reward in sorted(rewards.items())}
        rows.append([method, key, ", ".join(f"**{cell}**" if v == best else cell for v, cell in cells.items())])
    return markdown(rows)


def _spread(values: Sequence[float]) -> str:
    """Mean (least to greatest)."""
    mean = f"{fmean(values):.3f}"
    return mean if len(values) < 2 else f"{mean} ({min(values):.3f} to {max(values):.3f})"


def picture(results: Results, path: Path) -> None:
    """A column per task, a row per measure: means over seeds as lines, least to greatest as bands."""
    figure = Figure(figsize=(4.2 * len(results), 9.5), layout="constrained")
    grid = figure.subplots(len(MEASURES), len(results), squeeze=False, sharex=True)
    for column, (task, methods) in enumerate(results.items()):
        [base] = methods["base"]
        for axes, (measure, name) in zip(grid[:, column], MEASURES.items(), strict=True):
            before = base["evaluations"][0][measure]
            axes.axhline(before, color="grey", linestyle=":", label="base")
            for method, colour in COLOURS.items():
                if method not in methods:
                    continue
                x, y = zip(*curve(methods[method], base, measure), strict=True)
                style = "--" if method.startswith("b2") else "-"
                axes.plot(x, y, color=colour, linestyle=style, label=method, linewidth=1.5)
                rows = zip(*(run["evaluations"] for run in methods[method]), strict=False)
                values = [[before], *([each[measure] for each in row] for row in rows)]
                axes.fill_between(x, [*map(min, values)], [*map(max, values)], color=colour, alpha=0.1, linewidth=0)
            if measure == "reward":
                axes.set_title(task)
            if column == 0:
                axes.set_ylabel(name)
        axes.set_xlabel("trajectories")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))
    figure.savefig(path, dpi=80)
