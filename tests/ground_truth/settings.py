"""The runs of the ground truth: what all objectives share, and each one's own settings."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from target import EXAMPLE

BASE: dict[str, Any] = {
    "plugins": [str(EXAMPLE)],
    "trackers": [],
    # Above 4 the image is settled, and below -4 there is nothing but noise.
    "model": {"name": "vector", "train": "full", "log_snr": [-4.0, 5.0]},
    "prompts": {"name": "texts", "texts": [""]},
    "objective": {},
    # The sum over dimensions, not the mean, is the logarithm of a density.
    "rollout": {"steps": 24, "guidance_scale": 1.0, "reduction": "sum"},
    "train": {
        "epochs": 1200, "trajectories": 64, "sample_batch": 64, "updates": 1, "micro_batch": 2048, "decay": "cosine",
        "learning_rate": 1e-3, "max_grad_norm": 1.0, "weight_decay": 0.0, "ema": 0.99,
    },
    "evaluate": {"samples": 1},
}  # fmt: skip

WHOLE = {"objective.beta": 1.0, "objective.group": "epoch", "rollout.variance": "geometric"}
# A log-density is not bounded, so that the reward at x̂_0 would say little about a noisy state.
FLOW = {
    "objective.beta": 1.0,
    "objective.forward_looking": False,
    "state_flow.widths": [96],
    "train.learning_rate": 5e-4,
    "train.auxiliary_learning_rate": 1e-2,
    "rollout.variance": "learned",
}
DETAILED = FLOW | {"objective.beta_warmup": 0.0, "objective.regulariser": 0.0, "objective.next_gradient": 0.5}
# No path and no state flow: images of the model before training, each noised `train.denoisings` times.
FORWARD = {"objective.beta": 1.0, "objective.group": "epoch", "rollout.variance": "geometric"}
REWARD_ONLY = {"train.epochs": 400, "train.learning_rate": 2e-4}
NABLA = {
    "objective.beta": 1.0,
    "objective.regulariser": 0.0,
    "flow_gradient.widths": [96],
    "train.epochs": 600,
    "train.auxiliary_learning_rate": 1e-2,
    "rollout.variance": "geometric",
}

OBJECTIVES: dict[str, Mapping[str, Any]] = {
    "tb": WHOLE,
    "relative-tb": WHOLE,
    "subtb": FLOW | {"objective.lam": 1.5},
    "dag-db": DETAILED,
    "dag-kl": DETAILED,
    "nabla-db": NABLA,
    "rwr": FORWARD,
    "ddpo": REWARD_ONLY,
    "grpo": REWARD_ONLY | {"rollout.images_per_prompt": 64},
}
"""By name, in the order of the table. Keys are those of a run file."""
VARIANTS: Sequence[tuple[str, str, Sequence[str]]] = (
    ("nine-modes", "dag-db", ["objective.next_gradient=1.0"]),
    ("nine-modes", "dag-db", ["objective.next_gradient=1.0", "rollout.steps=12"]),
    ("nine-modes", "dag-db", ["objective.next_gradient=1.0", "rollout.steps=48"]),
    ("nine-modes", "dag-db", ["objective.next_gradient=0.0"]),
    ("nine-modes", "dag-db", ['rollout.variance="geometric"']),
    ("nine-modes", "dag-db", ['rollout.variance="posterior"']),
    ("nine-modes", "dag-kl", ["objective.next_gradient=1.0"]),
    ("nine-modes", "subtb", ["objective.lam=0.9"]),
    ("nine-modes", "subtb", ["objective.lam=3.0"]),
    ("nine-modes", "tb", ['rollout.variance="posterior"']),
    ("nine-modes", "tb", ["seed=1"]),
    ("nine-modes", "dag-db", ["seed=1"]),
    ("nine-modes", "dag-kl", ["seed=1"]),
)
"""Target, objective, and what is set otherwise than in `OBJECTIVES`."""
RELATIVE = {"relative-tb", "nabla-db", "rwr"}
"""Those whose target is p_ref exp(β r)."""


def run_tables(objective: str, target: str, output: Path, settings: Sequence[str] = ()) -> dict[str, Any]:
    """A run that trains the whole network, by one update per epoch.

    settings: over all others, such as 'train.learning_rate=1e-3', the value in TOML.
    """
    tables = deepcopy(BASE)
    tables["output"] = str(output)
    tables["objective"]["name"] = objective
    tables["rewards"] = [{"name": "known-density", "target": target, "relative": objective in RELATIVE}]
    given = {key: tomllib.loads(f"value = {value}")["value"] for key, _, value in (s.partition("=") for s in settings)}
    for key, value in {**OBJECTIVES[objective], **given}.items():
        section, dot, name = key.partition(".")
        (tables.setdefault(section, {}) if dot else tables)[name or section] = value
    tables["checkpoint"] = {"every": tables["train"]["epochs"]}
    return tables
