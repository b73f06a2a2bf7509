"""The kit for plugin authors: contracts to inherit, checks to call, fixtures for pytest.

Names are loaded when they are first used. The contracts need pytest; the checks do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dagsdk.testing.check import ContractError, ContractWarning, Outcome, outcomes
    from dagsdk.testing.contracts import (
        ModelContract,
        ObjectiveContract,
        PluginContract,
        PromptSetContract,
        RewardContract,
        RolloutContract,
    )
    from dagsdk.testing.isolation import offline, registry_of, without_discovery

_HOME = {
    "ContractError": "check",
    "ContractWarning": "check",
    "ModelContract": "contracts",
    "ObjectiveContract": "contracts",
    "Outcome": "check",
    "PluginContract": "contracts",
    "PromptSetContract": "contracts",
    "RewardContract": "contracts",
    "RolloutContract": "contracts",
    "offline": "isolation",
    "outcomes": "check",
    "registry_of": "isolation",
    "without_discovery": "isolation",
}

__all__ = [
    "ContractError",
    "ContractWarning",
    "ModelContract",
    "ObjectiveContract",
    "Outcome",
    "PluginContract",
    "PromptSetContract",
    "RewardContract",
    "RolloutContract",
    "offline",
    "outcomes",
    "registry_of",
    "without_discovery",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dagsdk.testing' has no attribute {name!r}")
    return getattr(import_module(f"dagsdk.testing.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
