"""The contract, by rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from dagsdk.testing import PluginContract, RewardContract


@pytest.fixture(scope="module", autouse=True)
def _small_weights(clip: Path, head: Path) -> None:
    TestAesthetic.options = {"weights": str(clip), "head": str(head)}


class TestPlugin(PluginContract):
    plugin = "aesthetic"
    strict = True


class TestAesthetic(RewardContract):
    spec = "aesthetic"
    strict = True
