"""The smallest run of any objective with any rollout, on images and on points, for tests that walk all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagsdk.config.files import structure_run
from dagsdk.config.schema import RunConfig
from dagsdk.registry import Registry, load_registry

REWARDS = """
from dagsdk import RewardSpec, hookimpl


def smooth(options, context):
    return lambda images, prompts: -(images - 0.3).square().flatten(1).mean(1)


@hookimpl
def dagsdk_rewards():
    yield RewardSpec(name="smooth", summary="Near 0.3 everywhere", build=smooth, differentiable=True)
    yield RewardSpec(name="blunt", summary="The same, without a gradient", build=smooth)
"""

TWO_IMAGES: dict[str, dict[str, Any]] = {
    "independent": {"images_per_prompt": 2},
    "b2": {"first": 2, "branches": 2},
}
"""Options with which a rollout takes two images of each prompt; one that is not here has its defaults."""

MODELS: dict[str, tuple[dict[str, Any], float]] = {
    "vector": ({"width": 16, "pretrain": 2}, 1.0),
    "shapes": ({"lora": {"rank": 2}}, 2.0),
}
"""Options, and guidance."""

Tables = dict[str, Any]


PICTURES = ("dagsdk.run.folder.save_grid", "dagsdk.run.folder.save_curves")


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Runs draw no pictures, which would take most of their time."""
    for name in PICTURES:
        patch.setattr(name, lambda *given: None)


def registry_with_rewards(folder: Path) -> Registry:
    """Everything that is installed, and the rewards above."""
    file = folder / "rewards_of_small_runs.py"
    file.write_text(REWARDS, encoding="utf-8")
    return load_registry([file])


def tables(registry: Registry, objective: str, rollout: str, model: str, sections: Tables) -> Tables:
    """A run file of one epoch with 4 steps and two prompts, without its output; `sections` are put over it."""
    options, guidance = MODELS[model]
    choices = TWO_IMAGES.get(rollout, {})
    spec = registry.get("rollouts", rollout)
    images = spec.images(spec.options(**choices)) if spec.images else 2
    run: Tables = {
        "trackers": [],
        "model": {"name": model, **options},
        "prompts": {"name": "texts", "texts": ["a red circle", "a blue star"]},
        "rewards": [{"name": "smooth"}],
        "objective": {"name": objective},
        "rollout": {"name": rollout, "steps": 4, "guidance_scale": guidance, **choices},
        "state_flow": {"widths": [8, 8]},
        "flow_gradient": {"widths": [8, 8]},
        "train": {"epochs": 1, "trajectories": 2 * images, "learning_rate": 1e-2, "weight_decay": 0.0},
        "evaluate": {"samples": 2},
    }
    for name, section in sections.items():
        run[name] = {**run.get(name, {}), **section} if isinstance(section, dict) else section
    return run


def structured(registry: Registry, run: Tables, output: Path) -> RunConfig:
    """Raises ConfigError for what is refused."""
    return structure_run({"output": str(output), **run}, registry, source="run.toml")
