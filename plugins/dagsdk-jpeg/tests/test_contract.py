"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import PluginContract, RewardContract


class TestPlugin(PluginContract):
    plugin = "jpeg"


class TestCompressibility(RewardContract):
    spec = "jpeg-compressibility"


class TestIncompressibility(RewardContract):
    spec = "jpeg-incompressibility"
    options = {"quality": 50}


class TestThreads(RewardContract):
    spec = "jpeg-incompressibility"
    options = {"subsampling": "4:4:4", "threads": 2}
