"""One epoch of trajectory balance on a wide vector model; as a program, it prints the most memory that it took, in MB.

python memory_of_run.py FOLDER STEPS MICRO_BATCH
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_runs import registry_with_rewards, structured, tables, without_pictures

from dagsdk.run.trainer import Trainer

TRAJECTORIES = 384


def peak() -> float:
    """The peak of what lay in memory since this program began.

    Not getrusage: what that gives may be the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(folder: str, steps: str, micro_batch: str) -> None:
    torch.set_num_threads(1)
    without_pictures(pytest.MonkeyPatch())
    registry = registry_with_rewards(Path(folder))
    sections = {
        "model": {"name": "vector", "width": 256, "pretrain": 2},
        "rollout": {"steps": int(steps)},
        "train": {
            "trajectories": TRAJECTORIES,
            "sample_batch": TRAJECTORIES,
            "micro_batch": int(micro_batch),
            "updates": 1,
        },
    }
    run = tables(registry, "tb", "independent", "vector", sections)
    (metrics,) = Trainer(structured(registry, run, Path(folder) / "run"), registry)
    assert metrics["transitions"] == TRAJECTORIES * int(steps)
    print(peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
