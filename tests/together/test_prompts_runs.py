"""Whole runs on the embedded model with the prompt sets of dagsdk-prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
{prompts}
[model]
name = "shapes"
[[rewards]]
name = "jpeg-compressibility"
[objective]
name = "{objective}"
beta = 10.0
[rollout]
steps = 4
guidance_scale = 3.0
[state_flow]
widths = [16, 32]
[train]
epochs = 2
trajectories = 8
[evaluate]
samples = 4
prompts = {{ name = "b2-activities", split = "test" }}
"""

MIXED = """
[[prompts]]
name = "b2-activities"
[[prompts]]
name = "file"
path = "{folder}/captions.jsonl"
text_column = "caption"
weight = 3.0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = (json.dumps({"caption": f"a star number {i}", "number": i}) for i in range(20))
    (tmp_path / "captions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def written(folder: Path, prompts: str, objective: str = "dag-db") -> str:
    path = folder / "run.toml"
    path.write_text(RUN.format(output=folder / "run", prompts=prompts, objective=objective))
    return str(path)


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_two_sets_are_mixed_and_a_third_evaluates(folder: Path, objective: str) -> None:
    assert main(["train", written(folder, MIXED.format(folder=folder), objective)]) == 0
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]


def test_a_mistake_in_a_file_is_reported_before_anything_is_written(folder: Path, capsys) -> None:
    with (folder / "captions.jsonl").open("a") as file:
        file.write('\n{"caption": ')
    assert main(["train", written(folder, MIXED.format(folder=folder))]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and "captions.jsonl, line 21: Expecting value" in shown
    assert "Traceback" not in shown and not (folder / "run").exists()
