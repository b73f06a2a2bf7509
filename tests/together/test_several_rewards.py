"""Rewards of several plugins at once, by the run file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
[model]
name = "shapes"
[[prompts]]
name = "shapes"
weight = 3.0
[[prompts]]
name = "shapes-free"
[[rewards]]
name = "shapes-match"
normalise = "prompt"
[[rewards]]
name = "jpeg-compressibility"
normalise = "running"
weight = 0.5
[[rewards]]
name = "jpeg-incompressibility"
weight = 0.0
[objective]
name = "{objective}"
beta = 10.0
[rollout]
images_per_prompt = 4
steps = 4
guidance_scale = 3.0
[state_flow]
widths = [16, 32]
[train]
epochs = 2
trajectories = 8
[evaluate]
samples = 4
"""


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_three_rewards_and_two_prompt_sets(tmp_path: Path, objective: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(output=tmp_path / "run", objective=objective), encoding="utf-8")
    assert main(["train", str(file)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        size = line["reward/jpeg-compressibility/mean"]
        assert line["reward/jpeg-incompressibility/mean"] == -size  # watched
        assert line["reward/mean"] == pytest.approx(line["reward/shapes-match/mean"] + 0.5 * size, abs=1e-5)
    assert lines[-1]["evaluate/base"] == pytest.approx(0, abs=1e-9)  # relative to the base model
    base = json.loads((tmp_path / "run/evaluation/base.json").read_text(encoding="utf-8"))
    assert base["rewards"].keys() == {"shapes-match", "jpeg-compressibility", "jpeg-incompressibility"}
