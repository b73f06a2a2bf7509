"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "rl"


class TestDDPO(ObjectiveContract):
    spec = "ddpo"


class TestDDPOShortHistory(ObjectiveContract):
    """Every prompt has statistics of its own from the first epoch on."""

    spec = "ddpo"
    options = {"history": 5, "min_count": 2}


class TestDDPOWithoutTracking(ObjectiveContract):
    spec = "ddpo"
    options = {"tracking": False}


class TestWeighted(ObjectiveContract):
    spec = "ddpo"
    options = {"variant": "weighted", "temperature": 0.01}


class TestGRPO(ObjectiveContract):
    spec = "grpo"


class TestGRPONearTheReference(ObjectiveContract):
    spec = "grpo"
    options = {"kl_weight": 0.5, "std": "batch"}


class TestGRPONearTheReferencesOutputs(ObjectiveContract):
    spec = "grpo"
    options = {"kl_weight": 0.5, "kl": "output"}
