"""The README.md of a checkpoint: its lines of plain diffusers draw what `dagsdk sample` draws."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import dagsdk
from dagsdk.cli.main import main

FENCE = re.compile(r"```python\n(.*?)```", re.DOTALL)
KEYS: dict[str, Any] = {
    "objective": {"name": "dag-db", "beta": 10.0},
    "rollout": {"steps": 4, "guidance_scale": 3.0},
    "train": {"epochs": 2, "trajectories": 4, "updates": 1, "learning_rate": 1e-2, "ema": 0.5},
    "state_flow": {"widths": [8, 8]},
    "evaluate": {"samples": 2},
}


def difference(one: Path, other: Path) -> int:
    """Largest difference of two pictures, in grey levels of 255."""
    pixels = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in (one, other)]
    return int(np.abs(pixels[0] - pixels[1]).max())


@pytest.mark.parametrize(
    "changes",
    [{}, {"rollout": {"steps": 3, "guidance_scale": 1.0, "eta": 0.5}}, {"model.train": "full"}],
    ids=["adapter", "without guidance", "whole network"],
)
def test_its_lines_draw_what_the_run_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    run = dagsdk.align(
        "shapes",
        prompts=["a red circle", "a blue ring"],
        reward=lambda images, prompts: images.mean((1, 2, 3)),
        output=tmp_path / "run",
        **{**KEYS, **changes},
    ).finish()
    checkpoint = tmp_path / "run" / "checkpoints" / "epoch-0002"
    text = (checkpoint / "README.md").read_text(encoding="utf-8")
    [code] = FENCE.findall(text)
    [prompt] = re.findall(r'^    "(.*)",$', code, re.MULTILINE)
    monkeypatch.chdir(checkpoint)
    (tmp_path / "lines.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "lines.py"))
    [drawn], [base] = run.sample(prompt), run.sample(prompt, base=True)
    for name, image in (("sample", drawn), ("base", base)):
        image.save(tmp_path / f"{name}.png")
    assert difference(checkpoint / "image.png", tmp_path / "sample.png") <= 1
    assert difference(checkpoint / "image.png", tmp_path / "base.png") > 1


def test_the_command_line_draws_the_same(tmp_path: Path) -> None:
    reward = "def build(options):\n    return lambda images, prompts: images.mean((1, 2, 3))\n"
    plugin = f"import dagsdk\n\n{reward}\n@dagsdk.hookimpl\ndef dagsdk_rewards():\n    yield dagsdk.RewardSpec(\n"
    plugin += '        name="bright", summary="How bright an image is", build=build\n    )\n'
    (tmp_path / "bright.py").write_text(plugin, encoding="utf-8")
    run = dagsdk.align(
        "shapes",
        prompts=["a red circle"],
        reward="bright",
        output=tmp_path / "run",
        plugins=[str(tmp_path / "bright.py")],
        **KEYS,
    ).finish()
    out = tmp_path / "images"
    assert main(["sample", str(tmp_path / "run"), "--prompt", "a red circle", "--out", str(out), "--seed", "7"]) == 0
    run.sample("a red circle", seed=7)[0].save(tmp_path / "image.png")
    assert difference(out / "00000.png", tmp_path / "image.png") == 0


def test_a_model_without_a_pipeline_points_to_the_command_line(tmp_path: Path) -> None:
    run = dagsdk.align(
        {"name": "vector", "pretrain": 1, "width": 8},
        prompts=[""],
        reward=lambda points, prompts: points.sum(1),
        rollout={"steps": 4, "guidance_scale": 1.0},
        train={"epochs": 1, "trajectories": 4},
        state_flow={"widths": [8]},
        samples=2,
    ).finish()
    assert "dagsdk sample" in (run.save(tmp_path / "weights") / "README.md").read_text(encoding="utf-8")
