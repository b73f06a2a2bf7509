"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ModelContract, PluginContract, PromptSetContract, RewardContract


class TestPlugin(PluginContract):
    plugin = "shapes"
    strict = True


class TestModel(ModelContract):
    spec = "shapes"
    strict = True


class TestCaptions(PromptSetContract):
    spec = "shapes"
    strict = True


class TestHeldOutCaptions(PromptSetContract):
    spec = "shapes-held-out"
    strict = True


class TestFreeCaptions(PromptSetContract):
    spec = "shapes-free"
    strict = True


class TestMatch(RewardContract):
    spec = "shapes-match"
    strict = True


class TestStrictMatch(RewardContract):
    spec = "shapes-match"
    strict = True
    options = {"strict": True}
