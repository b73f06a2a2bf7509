"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "nabla"


class TestAsPublished(ObjectiveContract):
    spec = "nabla-db"


class TestMild(ObjectiveContract):
    spec = "nabla-db"
    options = {"beta": 2.0, "beta_warmup": 0.5, "gradient_clip": 1.0, "weighting": 2.0, "regulariser": 0.0}


class TestWithoutAResidual(ObjectiveContract):
    spec = "nabla-db"
    options = {"beta": 2.0, "reverse": 0.0}
