"""Align text-to-image diffusion models with black-box rewards, and keep their diversity.

`import dagsdk` is light: it loads no torch. The public names below load what they need when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from dagsdk.errors import DagsdkError
    from dagsdk.prompts.protocol import Prompt
    from dagsdk.specs import (
        BuildContext,
        ModelSpec,
        NoOptions,
        ObjectiveSpec,
        PromptSpec,
        RewardSpec,
        RolloutSpec,
    )

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("dagsdk")
"""Marks a plugin's function as the implementation of the hook of the same name (see `dagsdk.hookspecs`)."""

_HOME = {
    "BuildContext": "dagsdk.specs",
    "DagsdkError": "dagsdk.errors",
    "ModelSpec": "dagsdk.specs",
    "NoOptions": "dagsdk.specs",
    "ObjectiveSpec": "dagsdk.specs",
    "Prompt": "dagsdk.prompts.protocol",
    "PromptSpec": "dagsdk.specs",
    "RewardSpec": "dagsdk.specs",
    "RolloutSpec": "dagsdk.specs",
}

__all__ = [
    "BuildContext",
    "DagsdkError",
    "ModelSpec",
    "NoOptions",
    "ObjectiveSpec",
    "Prompt",
    "PromptSpec",
    "RewardSpec",
    "RolloutSpec",
    "__version__",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dagsdk' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
