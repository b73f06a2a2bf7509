"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import PluginContract, RewardContract


class TestPlugin(PluginContract):
    plugin = "jpeg"
    strict = True


class TestCompressibility(RewardContract):
    spec = "jpeg-compressibility"
    strict = True


class TestIncompressibility(RewardContract):
    spec = "jpeg-incompressibility"
    strict = True
    options = {"quality": 50}


class TestThreads(RewardContract):
    spec = "jpeg-incompressibility"
    strict = True
    options = {"subsampling": "4:4:4", "threads": 2}
