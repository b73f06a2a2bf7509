"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "nabla"
    strict = True


class TestAsPublished(ObjectiveContract):
    spec = "nabla-db"
    strict = True


class TestMild(ObjectiveContract):
    spec = "nabla-db"
    options = {"beta": 2.0, "beta_warmup": 0.5, "gradient_clip": 1.0, "weighting": 2.0, "regulariser": 0.0}
    strict = True


class TestWithoutAFlowGradient(ObjectiveContract):
    spec = "nabla-db"
    options = {"beta": 2.0, "reverse": 0.0}
    strict = True
