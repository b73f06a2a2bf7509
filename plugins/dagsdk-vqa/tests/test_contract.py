"""The contract, by rule; the server is one on this machine, the model a small one with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagsdk.testing import PluginContract, RewardContract


@pytest.fixture(scope="module", autouse=True)
def places(patient_server: Any, tiny_vlm: Path) -> None:
    """Where what is asked can be found is known only now; the contracts read it when their first test runs."""
    for contract in (TestServer, TestServerProbability):
        contract.options = {**contract.options, "url": patient_server.url, "model": "tiny"}
    for contract in (TestLocal, TestLocalProbability):
        contract.options = {**contract.options, "model": str(tiny_vlm)}


class TestPlugin(PluginContract):
    plugin = "vqa"
    strict = True


class TestServer(RewardContract):
    spec = "vqa-server"
    strict = True
    options = {"question": "Is it red, {prompt}?"}


class TestServerProbability(RewardContract):
    spec = "vqa-server"
    strict = True
    options = {"scoring": "probability"}


class TestLocal(RewardContract):
    spec = "vqa-local"
    strict = True
    options = {"max_new_tokens": 2}


class TestLocalProbability(RewardContract):
    spec = "vqa-local"
    strict = True
    options = {"scoring": "probability", "batch": 3}
