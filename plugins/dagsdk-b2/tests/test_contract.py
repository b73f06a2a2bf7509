"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import PluginContract, RolloutContract


class TestPlugin(PluginContract):
    plugin = "b2"
    strict = True


class TestB2(RolloutContract):
    spec = "b2"
    strict = True


class TestAllSteps(RolloutContract):
    spec = "b2"
    options = {"first": 2, "last": 0}
    strict = True


class TestPromptHistory(RolloutContract):
    spec = "b2"
    options = {"group": "prompt-history", "images_per_prompt": 2, "last": 0}
    strict = True


class TestHistoryWithoutBranches(RolloutContract):
    spec = "b2"
    options = {"group": "prompt-history", "branches": 1, "images_per_prompt": 5}
    strict = True


class TestNotProgressive(RolloutContract):
    spec = "b2"
    options = {"first": 3, "last": 10, "progressive": False}
    exceptions = {"every_step_is_trained": "the window stays at the last 10 of 20 steps, as the options say"}
    strict = True


class TestSlowStages(RolloutContract):
    spec = "b2"
    options = {"stages": 100}
    exceptions = {"every_step_is_trained": "the longest run has half of the 100 stages, so the window still grows"}
    strict = True


class TestChoosy(RolloutContract):
    spec = "b2"
    options = {"keep_above": 3.0}
    exceptions = {"something_is_selected": "none of five rewards is 3 deviations from their mean; the most is 2"}
    strict = True
