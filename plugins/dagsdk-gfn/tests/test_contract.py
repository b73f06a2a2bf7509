"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "gfn"


class TestTrajectoryBalance(ObjectiveContract):
    spec = "tb"


class TestTrajectoryBalanceOfAnEpoch(ObjectiveContract):
    spec = "tb"
    options = {"group": "epoch", "beta_warmup": 0.5, "residual_clip": 0.5}


class TestRelativeTrajectoryBalance(ObjectiveContract):
    spec = "relative-tb"


class TestRelativeTrajectoryBalanceOfAnEpoch(ObjectiveContract):
    spec = "relative-tb"
    options = {"group": "epoch", "beta": 100.0, "residual_clip": 2.0}


class TestSubTrajectoryBalance(ObjectiveContract):
    spec = "subtb"


class TestSubTrajectoryBalanceWithoutLooking(ObjectiveContract):
    spec = "subtb"
    options = {"forward_looking": False, "beta_warmup": 0.5}


class TestSubTrajectoryBalanceOfLongPieces(ObjectiveContract):
    spec = "subtb"
    options = {"lam": 10.0, "beta": 100.0}


class TestSubTrajectoryBalanceOfSingleSteps(ObjectiveContract):
    spec = "subtb"
    options = {"lam": 1e-6}
