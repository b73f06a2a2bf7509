"""Two processes of torchrun end with the weights and metrics of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from small_runs import REWARDS, Tables, registry_with_rewards, tables

SECTIONS: dict[str, Tables] = {
    "dag-db": {"replay": {"trajectories": 4, "capacity": 2}, "objective": {"beta_warmup": 0.0}},
    "grpo": {"objective": {"kl_weight": 0.1}},
}
SECONDS = 400
TWO = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
ENVIRON = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # so that it is gloo


def trained(folder: Path, objective: str, launcher: list[str]) -> str:
    """Runs `dagsdk train` in a folder of its own, and gives what it prints. No process is left when this returns."""
    folder.mkdir()
    (folder / "rewards.py").write_text(REWARDS, encoding="utf-8")
    sections = {**SECTIONS[objective], "checkpoint": {"every": 1}}
    run = tables(registry_with_rewards(folder), objective, "independent", "vector", sections)
    # All rows in one update: how an epoch is shuffled depends on the number of processes.
    run["train"] |= {"epochs": 2, "trajectories": 8, "updates": 1, "ema": 0.5}
    text = tomli_w.dumps({"output": str(folder / "run"), "plugins": ["./rewards.py"], **run})
    (folder / "run.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, *launcher, "-m", "dagsdk", "train", str(folder / "run.toml")]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **ENVIRON},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        shown, errors = process.communicate(timeout=SECONDS)
    finally:
        if process.poll() is None:  # torchrun waits for its processes; one that hangs has to be ended with it
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # of its group, nobody is left
    return shown


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("objective", SECTIONS)
def test_two_processes_train_what_one_does(tmp_path: Path, objective: str) -> None:
    alone = trained(tmp_path / "alone", objective, [])
    both = trained(tmp_path / "both", objective, TWO)
    assert alone.count("epoch 2/2") == both.count("epoch 2/2") == 1  # one of them reports
    one, two = metrics(tmp_path / "alone"), metrics(tmp_path / "both")
    assert [line["epoch"] for line in two] == [1, 2]
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)
        assert (ours["trajectories"], ours["transitions"]) == (theirs["trajectories"], theirs["transitions"])
    assert ("replayed/mean" in two[1]) == (objective == "dag-db")
    last = Path("run", "checkpoints", "epoch-0002")
    for name in ("trained", "ema", "optimizer"):
        ours, theirs = (load_file(tmp_path / which / last / f"{name}.safetensors") for which in ("both", "alone"))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert (tmp_path / "both" / "run" / "checkpoints" / "epoch-0001").is_dir()
