"""A new user's first plugin, from `dagsdk new` to a model that rewards higher, as a script with a clock."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BRIGHTNESS = "    return images.mean(dim=(1, 2, 3))\n"
SHARPNESS = """\
    down = images.diff(dim=2).abs().mean(dim=(1, 2, 3))
    across = images.diff(dim=3).abs().mean(dim=(1, 2, 3))
    return down + across
"""
BRIGHTER = "worse, better = torch.zeros(3, 8, 8), torch.ones(3, 8, 8)\n"
SHARPER = "worse, better = torch.zeros(3, 8, 8), torch.tensor([0.0, 1.0]).repeat(3, 8, 4)\n"

# One caption that leaves everything but a shape open, so that what counts is how it is drawn. Neighbouring pixels
# differ by a few hundredths, hence the large β.
RUN = {
    "prompts": '{ name = "texts", texts = ["a shape"] }',
    "objective.beta": 1000.0,
    "rollout.steps": 4,
    "train.epochs": 16,
    "train.trajectories": 64,
    "train.learning_rate": 6e-3,
    "train.auxiliary_learning_rate": 1e-2,
    "train.ema": 0.8,
    "evaluate.samples": 128,
}


class Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, step: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = action()
        self.seconds[step] = time.perf_counter() - started
        return result

    def __str__(self) -> str:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in self.seconds.items())
        return f"a new user's first plugin: {sum(self.seconds.values()):.0f} s ({steps})"


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} has {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_first_ten_minutes(place: Any, record_property: Callable[[str, object], None]) -> None:
    clock = Clock()
    clock("new", lambda: place.dagsdk("new", "reward", "sharpness"))
    project = place.folder / "dagsdk-sharpness"

    edit(project / "src" / "dagsdk_sharpness" / "reward.py", BRIGHTNESS, SHARPNESS)
    edit(project / "tests" / "test_sharpness.py", BRIGHTER, SHARPER)
    clock("install", lambda: place.install("-e", project))

    plugin = clock("plugins", lambda: place.plugin("sharpness"))
    assert plugin["status"] == "ok"
    assert plugin["provides"]["rewards"] == ["sharpness"]

    assert " passed" in clock("pytest", lambda: place.python_m("pytest", "-p", "no:cacheprovider", cwd=project))
    checked = clock("check", lambda: place.dagsdk("plugins", "check", "sharpness"))
    assert "FAIL" not in checked
    assert "rows_are_independent" in checked

    overrides = [part for key, value in RUN.items() for part in ("--set", f"{key}={value}")]
    clock("train", lambda: place.dagsdk("train", "run.toml", *overrides, cwd=project))
    lines = (project / "runs" / "sharpness" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    gain, error = last["evaluate/gain"], last["evaluate/gain_stderr"]
    assert gain > 3 * error > 0

    base = last["evaluate/base"]
    record_property("seen", f"{clock}; sharpness {base:.4f} → {base + gain:.4f}, {gain / error:.1f} standard errors")
    assert sum(clock.seconds.values()) < 600
