"""What a run was made with: the version of every component and of the libraries its bits depend on."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dagsdk
from dagsdk.config.schema import RunConfig
from dagsdk.errors import UnknownComponentError
from dagsdk.registry import Registry

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "numpy", "pillow", "safetensors")


def provenance(config: RunConfig, registry: Registry, model_source: str) -> dict[str, str]:
    """Flat name to version: dagsdk, Python, libraries, and the plugins (or local files, by hash) that the run uses."""
    components = [
        ("models", config.model.name),
        *(("prompts", prompts.name) for prompts in (*config.prompts, *config.evaluate.prompts)),
        ("objectives", config.objective.name),
        ("rollouts", config.rollout.name),
        *(("rewards", reward.name) for reward in config.rewards),
    ]
    return {
        "dagsdk": dagsdk.__version__,
        "python": platform.python_version(),
        "model source": Path(model_source).name or model_source,
        **{f"library {name}": _version(name) for name in LIBRARIES},
        **{f"{kind} {name}": _provider(registry, kind, name) for kind, name in components},
    }


def _provider(registry: Registry, kind: str, name: str) -> str:
    try:
        plugin = registry.provider(kind, name)
    except UnknownComponentError:
        return "not from a plugin"
    return plugin.provider if plugin.sha256 is None else f"sha256:{plugin.sha256}"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
