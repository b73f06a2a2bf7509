"""The comparison's own arithmetic, and that its runs can be built."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dagsdk_shapes")
sys.path.insert(0, str(Path(__file__).parent))

import torch
from compare import beyond, results, tried, tuned
from compare_report import LEVELS, arrival, at, curve, picture, reached, report, tuning_report
from compare_runs import KNOBS, METHODS, TASKS, distance, registry, run_tables
from measuring import known

from dagsdk.config.files import structure_run
from dagsdk.prompts.protocol import Prompt


def result(*rewards: float, entropy: float = 2.0, seed: int = 0) -> dict[str, Any]:
    """A run with these rewards, after 60, 120, ... trajectories."""
    rest = {"full": 0.5, "entropy": entropy, "distance": 0.3}
    evaluations = [{"trajectories": 60 * i, "reward": r, **rest} for i, r in enumerate(rewards, 1)]
    return {"run": {"seed": seed}, "evaluations": evaluations, "transitions": 700, "seconds": 30.0}


BASE = {"evaluations": [{**result(0.2)["evaluations"][0], "trajectories": 0}]}


def test_a_level_is_reached_on_the_line_between_two_evaluations() -> None:
    line = curve([result(0.4, 0.8)], BASE, "reward")
    assert line == [(0, 0.2), (60, 0.4), (120, 0.8)]
    assert reached(line, 0.2) == 0
    assert reached(line, 0.3) == pytest.approx(30)
    assert reached(line, 0.5) == pytest.approx(75)
    assert reached(line, 0.9) is None
    assert [at(line, x) for x in (0, 75, 120, 500)] == pytest.approx([0.2, 0.5, 0.8, 0.8])


def test_curves_are_means_over_runs() -> None:
    assert curve([result(0.4, 0.8), result(0.2, 0.4)], BASE, "reward")[1:] == [
        (60, pytest.approx(0.3)),
        (120, pytest.approx(0.6)),
    ]


def test_levels_are_the_rivals_last_and_its_best() -> None:
    rival = [result(0.8, 0.6, entropy=1.0)]
    last, best = (arrival([result(0.4, 0.8)], rival, BASE, level) for level in LEVELS.values())
    assert last is not None
    assert best is not None
    assert last.trajectories == pytest.approx(90)
    assert last.share == pytest.approx(90 / 40)  # the rival passes 0.6 at two thirds of the way from 0.2 to 0.8
    assert (best.trajectories, best.share) == pytest.approx((120, 2))
    assert (best.entropy, best.rivals_entropy) == pytest.approx((2, 1))
    assert arrival([result(0.4, 0.7)], rival, BASE, LEVELS["best"]) is None
    fallen = [result(0.1, 0.1)]
    found = arrival([result(0.3, 0.3)], fallen, BASE, LEVELS["last"])
    assert found is not None
    assert (found.trajectories, found.share) == (0, 1)  # the base model has that level


def test_the_tables_compare_with_ddpo_on_the_whole_and_by_seed(tmp_path: Path) -> None:
    runs = {
        "base": [BASE],
        "ddpo": [result(0.4, 0.6, entropy=1.0, seed=0), result(0.4, 0.6, entropy=1.0, seed=1)],
        "dag-db": [result(0.8, 0.8, seed=1), result(0.5, 0.7, seed=0)],
        "grpo": [result(0.3, 0.3, entropy=0.5)],
    }
    ends, arrivals = ([*table.splitlines()] for table in report({"strict": runs}).split("\n\n"))
    by_method = [{line.split(" | ")[0]: line for line in table} for table in (ends, arrivals)]
    assert by_method[0]["| dag-db"].endswith("| 2, 2 | 700 | 30 |")
    assert by_method[0]["| grpo"].endswith("| 0, 0 | 700 | 30 |")
    mean = 60 * (0.6 - 0.2) / (0.65 - 0.2)  # from 0.2 to (0.8 + 0.5) / 2
    aimed = f"| {mean:.0f} ({mean / 120:.0%}) | {at([(0, 2), (60, 2)], mean):.3f} | 2, 1, 2 |"
    assert aimed in by_method[1]["| dag-db"]
    assert "| never |  | 0, 0, 0 |" in by_method[1]["| grpo"]
    assert "| 120 (100%) |" in by_method[1]["| ddpo"]
    picture({"strict": runs}, tmp_path / "comparison.png")
    assert (tmp_path / "comparison.png").stat().st_size > 10_000


def test_the_tuning_table_marks_the_best_candidate_and_no_other_value() -> None:
    table = tuning_report({"ddpo": {0.1: 0.3, 0.2: 0.5, 0.4: 0.9}}, {"ddpo": ("learning_rate", (0.1, 0.2))})
    assert "| ddpo | learning_rate | 0.1: 0.300, **0.2: 0.500**, 0.4: 0.900 |" in table


def test_beyond_an_outermost_value_the_ratio_is_the_same() -> None:
    assert beyond((30.0, 100.0, 300.0), 300.0) == pytest.approx(900)
    assert beyond((30.0, 100.0, 300.0), 30.0) == pytest.approx(9)
    assert beyond((30.0, 100.0, 300.0), 100.0) is None


def test_distance_compares_pictures_of_one_prompt_only() -> None:
    levels = torch.tensor([0.0, 0.5, 1.0, 1.0])
    images = levels[:, None, None, None].expand(4, 3, 8, 8)
    star, ring = Prompt("a star"), Prompt("a ring")
    assert distance(images, [star, star, ring, ring]) == pytest.approx(0.25)  # mean of 0.5 and 0
    assert distance(images[:3], [star] * 3) == pytest.approx((0.5 + 0.5 + 1) / 3)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", METHODS)
def test_every_run_can_be_built(method: str, task: str, tmp_path: Path) -> None:
    run = structure_run(
        run_tables(method, task, seed=0, value=3.0, epochs=10, std_floor=0.2, output=tmp_path), registry()
    )
    assert run.train.trajectories % (6 * 5) == 0  # captions, and branches
    assert run.objective.name in method
    _, key, values = KNOBS[method]
    assert len(values) == 3
    assert 3.0 in (getattr(run.train, key, None), getattr(run.objective.options, key, None))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    path = tmp_path / "strict" / "ddpo 0.json"
    assert known(path, lambda: result(0.5)) == result(0.5)
    assert known(path, lambda: pytest.fail("run twice")) == result(0.5)


def test_the_setting_with_the_highest_mean_reward_is_chosen(tmp_path: Path) -> None:
    values = KNOBS["dag-db"][2]
    for value, rewards in zip(values, [(0.2, 0.8), (0.7, 0.7), (0.9, 0.1)], strict=True):
        known(tmp_path / "tuning" / f"dag-db {value:g}.json", lambda rewards=rewards: result(*rewards))
    given = argparse.Namespace(output=tmp_path, epochs=20, every=10, images=2, std_floor=0.2)
    assert tuned("dag-db", given) == values[1]
    assert tried(given) == {"dag-db": pytest.approx(dict(zip(values, (0.5, 0.7, 0.5), strict=True)))}


def test_results_are_found_by_task_and_method(tmp_path: Path) -> None:
    for name in ("base 0", "b2 + ddpo 0", "b2 + ddpo 1"):
        known(tmp_path / "match" / f"{name}.json", lambda: BASE)
    assert results(argparse.Namespace(output=tmp_path)) == {"match": {"base": [BASE], "b2 + ddpo": [BASE, BASE]}}
