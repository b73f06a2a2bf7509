"""The contract, by rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagsdk.testing import PluginContract, RewardContract


@pytest.fixture(scope="module", autouse=True)
def _small_weights(folder: Path, clip_model: Path, architecture: str, checkpoint: Path) -> None:
    TestClipScore.options = {"weights": str(folder), "scale": 100.0, "template": "a photo of {prompt}"}
    TestPickScore.options = {"model": str(clip_model)}
    TestHps.options = {"weights": str(checkpoint), "architecture": architecture}


class TestPlugin(PluginContract):
    plugin = "clip"
    strict = True


class TestClipScore(RewardContract):
    spec = "clip-score"
    strict = True


class TestPickScore(RewardContract):
    spec = "pickscore"
    strict = True


class TestHps(RewardContract):
    spec = "hpsv2"
    strict = True
