"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "rl"
    strict = True


class TestDDPO(ObjectiveContract):
    spec = "ddpo"
    strict = True


class TestDDPOWithAShortHistory(ObjectiveContract):
    """Every prompt has its own statistics from the first epoch on."""

    spec = "ddpo"
    options = {"history": 5, "min_count": 2}
    strict = True


class TestDDPOWithoutTracking(ObjectiveContract):
    spec = "ddpo"
    options = {"tracking": False}
    strict = True


class TestWeighted(ObjectiveContract):
    spec = "ddpo"
    options = {"variant": "weighted", "temperature": 0.01}
    strict = True


class TestGRPO(ObjectiveContract):
    spec = "grpo"
    strict = True


class TestGRPONearTheReference(ObjectiveContract):
    spec = "grpo"
    options = {"kl_weight": 0.5, "std": "batch"}
    strict = True


class TestGRPONearTheReferencesOutputs(ObjectiveContract):
    spec = "grpo"
    options = {"kl_weight": 0.5, "kl": "output"}
    strict = True
