"""The tutorial's diffusers lines draw what `dagsdk sample` draws, and are those of the checkpoint's README."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fences import ROOT, blocks
from PIL import Image

PAGE = blocks(ROOT / "docs/tutorial/first-run.md")
SHORT = ("train.epochs=1", "train.trajectories=8", "evaluate.samples=2")
"""Nothing here changes how images are drawn."""

[RUN] = [block for block in PAGE if block.file == "first.toml"]
[SAMPLE] = [block.commands[0] for block in PAGE if block.text.startswith("dagsdk sample")]
[SCRIPT] = [block.text for block in PAGE if "load_lora_weights" in block.text]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page was followed, with fewer epochs."""
    folder = tmp_path_factory.mktemp("first-run")
    RUN.write(folder)
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    sets = [word for key in SHORT for word in ("--set", key)]
    for words in (["-m", "dagsdk", "train", "first.toml", *sets], ["-m", *shlex.split(SAMPLE)], ["script.py"]):
        done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    return folder


def test_it_draws_what_dagsdk_sample_draws(folder: Path) -> None:
    names = "circle.png", "runs/first-images/00000.png"
    by_script, by_command = (np.asarray(Image.open(folder / name)).astype(int) for name in names)
    assert by_script.shape == by_command.shape
    assert abs(by_script - by_command).max() <= 2  # of 255: rounding


def test_the_checkpoint_says_the_same(folder: Path) -> None:
    [readme] = (folder / "runs/first/checkpoints").glob("*/README.md")
    said = readme.read_text(encoding="utf-8")
    lines = SCRIPT.splitlines()
    settings = [line for line in lines if "scheduler" in line or (line.startswith("    ") and "=" in line)]
    assert len(settings) == 5
    assert all(line in said for line in settings)
