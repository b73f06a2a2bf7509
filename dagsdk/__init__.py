"""Align text-to-image diffusion models with black-box rewards, and keep their diversity.

`import dagsdk` is light: it loads no torch. The public names below load what they need when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from dagsdk.api import Run, align, load, train
    from dagsdk.errors import DagsdkError
    from dagsdk.models.base import BaseModel
    from dagsdk.models.protocol import Model
    from dagsdk.objectives.parts import Needs
    from dagsdk.objectives.protocol import Denoisings, Loss, Objective, Signals, Transitions
    from dagsdk.objectives.toolbox import Stateless
    from dagsdk.objectives.trajectories import Trajectories
    from dagsdk.prompts.protocol import Prompt, PromptSet
    from dagsdk.rewards.plain import reward
    from dagsdk.rewards.protocol import Reward
    from dagsdk.rollouts.protocol import Rollout, RolloutPlan
    from dagsdk.run.events import CheckpointEvent, EpochEvent, EvaluationEvent, FinishedEvent, ImagesEvent, WarningEvent
    from dagsdk.specs import BuildContext, ModelSpec, NoOptions, ObjectiveSpec, PromptSpec, RewardSpec, RolloutSpec

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("dagsdk")
"""Marks a plugin's function as the implementation of the hook of the same name (see `dagsdk.hookspecs`)."""

_HOME = {
    "BaseModel": "dagsdk.models.base",
    "BuildContext": "dagsdk.specs",
    "CheckpointEvent": "dagsdk.run.events",
    "DagsdkError": "dagsdk.errors",
    "Denoisings": "dagsdk.objectives.protocol",
    "EpochEvent": "dagsdk.run.events",
    "EvaluationEvent": "dagsdk.run.events",
    "FinishedEvent": "dagsdk.run.events",
    "ImagesEvent": "dagsdk.run.events",
    "Loss": "dagsdk.objectives.protocol",
    "Model": "dagsdk.models.protocol",
    "ModelSpec": "dagsdk.specs",
    "Needs": "dagsdk.objectives.parts",
    "NoOptions": "dagsdk.specs",
    "Objective": "dagsdk.objectives.protocol",
    "ObjectiveSpec": "dagsdk.specs",
    "Prompt": "dagsdk.prompts.protocol",
    "PromptSet": "dagsdk.prompts.protocol",
    "PromptSpec": "dagsdk.specs",
    "Reward": "dagsdk.rewards.protocol",
    "RewardSpec": "dagsdk.specs",
    "Rollout": "dagsdk.rollouts.protocol",
    "RolloutPlan": "dagsdk.rollouts.protocol",
    "RolloutSpec": "dagsdk.specs",
    "Run": "dagsdk.api",
    "Signals": "dagsdk.objectives.protocol",
    "Stateless": "dagsdk.objectives.toolbox",
    "Trajectories": "dagsdk.objectives.trajectories",
    "Transitions": "dagsdk.objectives.protocol",
    "WarningEvent": "dagsdk.run.events",
    "align": "dagsdk.api",
    "load": "dagsdk.api",
    "reward": "dagsdk.rewards.plain",
    "train": "dagsdk.api",
}

__all__ = [
    "BaseModel",
    "BuildContext",
    "CheckpointEvent",
    "DagsdkError",
    "Denoisings",
    "EpochEvent",
    "EvaluationEvent",
    "FinishedEvent",
    "ImagesEvent",
    "Loss",
    "Model",
    "ModelSpec",
    "Needs",
    "NoOptions",
    "Objective",
    "ObjectiveSpec",
    "Prompt",
    "PromptSet",
    "PromptSpec",
    "Reward",
    "RewardSpec",
    "Rollout",
    "RolloutPlan",
    "RolloutSpec",
    "Run",
    "Signals",
    "Stateless",
    "Trajectories",
    "Transitions",
    "WarningEvent",
    "__version__",
    "align",
    "hookimpl",
    "load",
    "reward",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dagsdk' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
