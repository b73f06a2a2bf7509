"""Whole runs whose rewards ask a vision-language model, behind a server of this machine or in this process."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from fences import ROOT

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
[model]
name = "shapes"
[prompts]
name = "shapes"
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
[[rewards]]
name = "{reward}"
scoring = "probability"
"""


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    """What the plugin's own tests are made with."""
    return runpy.run_path(str(ROOT / "plugins" / "dagsdk-vqa" / "tests" / "conftest.py"))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_a_server_rates_the_images_of_a_run(made: dict[str, Any], tmp_path: Path, objective: str) -> None:
    file = tmp_path / "run.toml"
    with made["serving"]() as server:
        options = f'url = "{server.url}"\nmodel = "tiny"\nbackoff = 0.0\nretries = 0\nfallback = 0.5\n'
        file.write_text(RUN.format(output=tmp_path / "run", objective=objective, reward="vqa-server") + options)
        server.failures = [503]
        assert main(["train", str(file)]) == 0
    found = lines(tmp_path / "run")
    assert [line["epoch"] for line in found] == [1, 2]
    unanswered = [line["reward/vqa-server/unanswered"] for line in found]
    assert sum(unanswered) <= 1 and all(line["reward/vqa-server/asked"] >= 8 for line in found)
    assert all(0 < line["reward/mean"] < 1 for line in found)


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_a_local_model_rates_the_images_of_a_run(made: dict[str, Any], tmp_path: Path, objective: str) -> None:
    file = tmp_path / "run.toml"
    options = f'model = "{made["build_tiny_vlm"](tmp_path / "vlm")}"\n'
    file.write_text(RUN.format(output=tmp_path / "run", objective=objective, reward="vqa-local") + options)
    assert main(["train", str(file)]) == 0
    found = lines(tmp_path / "run")
    assert [line["epoch"] for line in found] == [1, 2]
    assert all(0 < line["reward/mean"] < 1 for line in found)


def test_a_server_that_is_down_ends_a_run_with_one_clear_error(tmp_path: Path, capsys) -> None:
    file = tmp_path / "run.toml"
    options = 'url = "http://127.0.0.1:9/v1"\nmodel = "tiny"\nbackoff = 0.0\nretries = 1\n'
    file.write_text(RUN.format(output=tmp_path / "run", objective="dag-db", reward="vqa-server") + options)
    assert main(["train", str(file)]) == 1
    shown = capsys.readouterr().err
    assert "http://127.0.0.1:9/v1" in shown and "2 attempts" in shown and "Traceback" not in shown
