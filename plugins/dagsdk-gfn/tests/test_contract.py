"""The contract, by rule."""

from __future__ import annotations

from dagsdk.testing import ObjectiveContract, PluginContract


class TestPlugin(PluginContract):
    plugin = "gfn"
    strict = True


class TestTrajectoryBalance(ObjectiveContract):
    spec = "tb"
    strict = True


class TestTrajectoryBalanceOfAnEpoch(ObjectiveContract):
    spec = "tb"
    options = {"group": "epoch", "beta_warmup": 0.5, "residual_clip": 0.5}
    strict = True


class TestRelativeTrajectoryBalance(ObjectiveContract):
    spec = "relative-tb"
    strict = True


class TestRelativeTrajectoryBalanceOfAnEpoch(ObjectiveContract):
    spec = "relative-tb"
    options = {"group": "epoch", "beta": 100.0, "residual_clip": 2.0}
    strict = True


class TestSubTrajectoryBalance(ObjectiveContract):
    spec = "subtb"
    strict = True


class TestSubTrajectoryBalanceWithoutLooking(ObjectiveContract):
    spec = "subtb"
    options = {"forward_looking": False, "beta_warmup": 0.5}
    strict = True


class TestSubTrajectoryBalanceOfLongPieces(ObjectiveContract):
    spec = "subtb"
    options = {"lam": 10.0, "beta": 100.0}
    strict = True


class TestSubTrajectoryBalanceOfSingleSteps(ObjectiveContract):
    spec = "subtb"
    options = {"lam": 1e-6}
    strict = True


class TestRewardWeightedLikelihood(ObjectiveContract):
    spec = "rwr"
    strict = True


class TestRewardWeightedLikelihoodOfAnEpoch(ObjectiveContract):
    spec = "rwr"
    options = {"group": "epoch", "beta": 100.0, "beta_warmup": 0.5}
    strict = True
