"""The contract, by rule."""

from __future__ import annotations

from typing import Any

import pytest

from dagsdk import BuildContext
from dagsdk.testing import PluginContract, RewardContract


@pytest.fixture(scope="class")
def given(request: pytest.FixtureRequest, small: Any) -> None:
    """The small model's options, for a class that inherits a contract."""
    request.cls.options = small.options


class TestPlugin(PluginContract):
    plugin = "imagereward"
    strict = True


@pytest.mark.usefixtures("given")
class TestImageReward(RewardContract):
    spec = "imagereward"
    strict = True


@pytest.mark.usefixtures("given")
class TestInHalfPrecision(RewardContract):
    spec = "imagereward"
    strict = True
    context = BuildContext(mixed_precision="bf16")
    tolerance = 0.05
