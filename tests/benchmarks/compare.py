"""Compares objectives and rollouts on the embedded model: reward and diversity against trajectories used.

    python tests/benchmarks/compare.py --output runs/compare --seeds 0 1 2

First each method chooses one setting among three (`KNOBS`), by runs of half the length on the task "strict" with a seed
of their own; then come all runs of the first seed, of the second, and so on. What is done is not done again, so that a
command that was stopped continues. Table and picture are made anew after each seed, from the results so far.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compare_report import Results, picture, report, tuning_report
from compare_runs import KNOBS, METHODS, TASKS, base, run, run_tables
from measuring import known

from dagsdk.run.folder import write_whole

TUNING_TASK, TUNING_SEED = "strict", 100


def mean_reward(result: dict[str, Any]) -> float:
    """The mean over a run's evaluations: high for what learns fast and stays."""
    rewards = [evaluation["reward"] for evaluation in result["evaluations"]]
    return sum(rewards) / len(rewards)


def tuning_run(method: str, value: float, given: argparse.Namespace) -> float:
    """The mean reward of a run with this value of the method's knob."""
    tables = run_tables(
        method,
        TUNING_TASK,
        seed=TUNING_SEED,
        value=value,
        epochs=given.epochs // 2,
        std_floor=given.std_floor,
        output=given.output / "run",
    )
    path = given.output / "tuning" / f"{method} {value:g}.json"
    return mean_reward(known(path, lambda: run(tables, given.images, given.every)))


def tuned(method: str, given: argparse.Namespace) -> float:
    """The value of the method's knob whose run has the highest mean reward."""
    return max(KNOBS[method][2], key=lambda value: tuning_run(method, value, given))


def beyond(values: Sequence[float], chosen: float) -> float | None:
    """The next value in the same ratio, where the chosen one is the first or the last; else None."""
    inner = {values[0]: values[1], values[-1]: values[-2]}.get(chosen)
    return None if inner is None else round(chosen * chosen / inner, 9)


def results(given: argparse.Namespace) -> Results:
    """The results so far: by task and method, "base" first, the runs in the order of seeds."""
    found: Results = {}
    for task, method in itertools.product(TASKS, ("base", *METHODS)):
        files = sorted(given.output.glob(f"{task}/{method} *.json"))
        if files:
            found.setdefault(task, {})[method] = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return found


def tried(given: argparse.Namespace) -> dict[str, dict[float, float]]:
    """Method to value to mean reward, of all tuning runs so far."""
    found: dict[str, dict[float, float]] = {}
    for method in METHODS:
        for path in given.output.glob(f"tuning/{method} *.json"):
            result = json.loads(path.read_text(encoding="utf-8"))
            found.setdefault(method, {})[float(path.stem.rpartition(" ")[2])] = mean_reward(result)
    return found


def write_report(given: argparse.Namespace) -> None:
    """Writes comparison.md and comparison.png."""
    knobs = {method: (key, values) for method, (_, key, values) in KNOBS.items()}
    text = report(results(given)) + "\n" + tuning_report(tried(given), knobs)
    write_whole(given.output / "comparison.md", text)
    picture(results(given), given.output / "comparison.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/compare"), help="(default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=40, help="a multiple of twice --every (default: %(default)s)")
    parser.add_argument("--every", type=int, default=10, help="epochs between two evaluations (default: %(default)s)")
    parser.add_argument("--images", type=int, default=32, help="per caption in an evaluation (default: %(default)s)")
    parser.add_argument("--std-floor", type=float, default=0.2, help="of every transition (default: %(default)s)")
    parser.add_argument("--beyond", action="store_true", help="try one more setting where an outermost one was chosen")
    parser.add_argument("--report", action="store_true", help="run nothing; only write table and picture")
    given = parser.parse_args(arguments)
    if given.epochs < 1 or given.every < 1 or given.epochs % (2 * given.every):
        parser.error(f"--epochs is {given.epochs}; it must be a multiple of twice --every, {2 * given.every}")
    torch.set_num_threads(1)
    for seed, task, method in itertools.product([] if given.report else given.seeds, given.tasks, given.methods):
        value = tuned(method, given)
        tables = run_tables(
            method,
            task,
            seed=seed,
            value=value,
            epochs=given.epochs,
            std_floor=given.std_floor,
            output=given.output / "run",
        )
        known(given.output / task / "base 0.json", lambda tables=tables: base(tables, given.images))
        known(
            given.output / task / f"{method} {seed}.json", lambda tables=tables: run(tables, given.images, given.every)
        )
        if (task, method) == (given.tasks[-1], given.methods[-1]):
            write_report(given)  # of the seeds so far
    for method in given.methods if given.beyond and not given.report else []:
        if further := beyond(KNOBS[method][2], tuned(method, given)):
            tuning_run(method, further, given)
    write_report(given)
    print((given.output / "comparison.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
