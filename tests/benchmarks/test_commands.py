"""Every benchmark's own command runs, in the smallest setting that it has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fences import ROOT

pytest.importorskip("dagsdk_shapes")
HERE = Path(__file__).parent


def printed(*words: str | Path) -> str:
    """What a command prints, started as the pages say: in the root of the repository."""
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("objective", ["dag-db", "rwr"])
def test_speed(objective: str) -> None:
    small = ["train.trajectories=2", "train.updates=1", "rollout.steps=2", "train.denoisings=2"]
    if objective == "rwr":
        pytest.importorskip("dagsdk_gfn")
        small += ['objective={name="rwr", group="epoch"}']
    found = json.loads(printed(HERE / "speed.py", "--epochs", "3", *(word for key in small for word in ("--set", key))))
    shares, outside = found["share by kind"], found["share outside network, decoder and reward"]
    assert {"network", "decoder", "reward", "optimiser"} <= shares.keys()
    assert sum(shares.values()) < 1
    assert outside == pytest.approx(1 - sum(shares[kind] for kind in ("network", "decoder", "reward")))
    assert 0 < outside < 1
    assert all(found[f"{stage} transitions per second"] > 0 for stage in ("sampled", "trained"))
    assert found["seconds per epoch"] > 0


def test_compare(tmp_path: Path) -> None:
    pytest.importorskip("dagsdk_rl")
    small = ["--seeds", "0", "--tasks", "match", "--methods", "ddpo", "--epochs", "2", "--every", "1", "--images", "2"]
    shown = printed(HERE / "compare.py", "--output", tmp_path, *small)
    assert "| ddpo | 1 |" in shown
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    again = printed(HERE / "compare.py", "--output", tmp_path, "--report")
    assert again.strip() == (tmp_path / "comparison.md").read_text(encoding="utf-8").strip() in shown


def test_proportionality(tmp_path: Path) -> None:
    pytest.importorskip("dagsdk_gfn")
    small = ["--runs", "relative-tb 2", "--epochs", "1", "--samples", "8"]
    shown = printed(HERE / "proportionality.py", "--output", tmp_path, *small)
    assert "| `relative-tb 2` |" in shown
    assert (tmp_path / "relative-tb 2.json").is_file()


def test_front_page(tmp_path: Path) -> None:
    pytest.importorskip("dagsdk_rl")
    keys = {"train.epochs": 1, "train.trajectories": 4, "rollout.steps": 2, "evaluate.samples": 2, "evaluate.every": 1}
    small = [word for key, value in {**keys, "checkpoint.every": 1}.items() for word in ("--set", f"{key}={value}")]
    picture = tmp_path / "front-page.png"
    shown = printed(HERE / "front_page.py", "--output", picture, "--work", tmp_path / "runs", "--images", "12", *small)
    assert all(name in shown for name in ("base model", "DDPO", "DAG-DB"))
    rows = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    assert [(row["epoch"], row["images"]) for row in rows] == [(None, 12), (1, 12), (1, 12)]
    assert picture.stat().st_size > 10_000


def test_every_benchmark_has_its_command_here() -> None:
    programs = {file.name for file in HERE.glob("*.py") if '__name__ == "__main__"' in file.read_text(encoding="utf-8")}
    programs -= {Path(__file__).name}
    assert programs == {"speed.py", "compare.py", "proportionality.py", "front_page.py"}
