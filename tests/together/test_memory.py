"""The memory of trajectory balance does not grow with the number of steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("memory_of_run.py")
TRAJECTORIES = 384

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured by /proc"),
]


def megabytes(folder: Path, steps: int, micro_batch: int) -> float:
    folder.mkdir()
    command = [sys.executable, "-W", "ignore", str(PROGRAM), str(folder), str(steps), str(micro_batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def test_eighty_steps_take_what_twenty_take(tmp_path: Path) -> None:
    few = megabytes(tmp_path / "20", 20, micro_batch=TRAJECTORIES)
    many = megabytes(tmp_path / "80", 80, micro_batch=TRAJECTORIES)
    assert many == pytest.approx(few, rel=0.05)
    # A graph over all steps at once would not have been overlooked.
    whole = megabytes(tmp_path / "whole", 80, micro_batch=80 * TRAJECTORIES)
    assert whole > 1.3 * many
