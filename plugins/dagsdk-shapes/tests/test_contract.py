"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ModelContract, PluginContract, PromptSetContract, RewardContract


class TestPlugin(PluginContract):
    plugin = "shapes"


class TestModel(ModelContract):
    spec = "shapes"


class TestCaptions(PromptSetContract):
    spec = "shapes"


class TestHeldOutCaptions(PromptSetContract):
    spec = "shapes-held-out"


class TestFreeCaptions(PromptSetContract):
    spec = "shapes-free"


class TestMatch(RewardContract):
    spec = "shapes-match"


class TestStrictMatch(RewardContract):
    spec = "shapes-match"
    options = {"strict": True}
