"""Killed at any moment and started again, a run ends in the same bits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

PROGRAM = Path(__file__).with_name("tiny_run.py")


def program(output: Path, objective: str, when: str) -> int:
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(output), objective, when]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def bits(output: Path) -> dict[str, object]:
    """Every weight of every checkpoint, by file and name, and the metrics without seconds."""
    found: dict[str, object] = {}
    for file in sorted((output / "checkpoints").rglob("*.safetensors")):
        for name, tensor in load_file(file).items():
            found[f"{file.relative_to(output)}:{name}"] = tensor.numpy().tobytes()
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    found["metrics"] = [{k: v for k, v in line.items() if k != "seconds"} for line in lines]
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    runs = {}
    for objective in ("dag-db", "dag-kl"):
        output = tmp_path_factory.mktemp("undisturbed") / "run"
        assert program(output, objective, "never") == 0
        runs[objective] = bits(output)
        assert len(runs[objective]["metrics"]) == 4  # type: ignore[arg-type]
        assert len(runs[objective]) > 100
    return runs


@pytest.mark.parametrize(
    ("objective", "when"),
    [("dag-db", "sampling"), ("dag-kl", "update"), ("dag-db", "update"), ("dag-db", "checkpoint")],
)
def test_killed_and_resumed_it_ends_in_the_same_bits(
    tmp_path: Path, undisturbed: dict[str, dict[str, object]], objective: str, when: str
) -> None:
    output = tmp_path / "run"
    assert program(output, objective, when) == -signal.SIGKILL
    assert sorted(p.name for p in (output / "checkpoints").glob("epoch-*")) == ["epoch-0002"]
    assert program(output, objective, "resume") == 0
    assert bits(output) == undisturbed[objective]
    assert not list((output / "checkpoints").glob(".unfinished*"))
