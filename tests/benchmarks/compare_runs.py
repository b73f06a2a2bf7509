"""The runs of `compare.py`: tasks, methods, and what is measured of a run.

All methods train the same model on the same six captions, "a red triangle" and the other pairs of colour and shape
that its pretraining never showed. These leave background and size free, which is where diversity is measured.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from measuring import drawn
from torch import Tensor

from dagsdk.config.files import structure_run
from dagsdk.evaluation.held_out import fixed_prompts
from dagsdk.evaluation.paired import mean_and_error
from dagsdk.prompts.protocol import Prompt
from dagsdk.registry import Registry, load_registry
from dagsdk.run.trainer import Trainer
from dagsdk_shapes.measure import measure

CAPTIONS: Final = 6
IMAGES: Final = 5
"""Trajectories per caption and epoch."""

TASKS: Final[dict[str, dict[str, Any]]] = {
    "match": {"name": "shapes-match"},
    "strict": {"name": "shapes-match", "strict": True},
    "compressibility": {"name": "jpeg-compressibility", "weight": 2.5},
}
"""Task to its reward."""

_B2 = {"name": "b2", "branches": IMAGES, "first": 4}  # the paper's 14 of 20 steps are 4 of 6
METHODS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "ddpo": {"objective": {"name": "ddpo"}},
    "grpo": {"objective": {"name": "grpo"}, "rollout": {"images_per_prompt": IMAGES}},
    "dag-db": {"objective": {"name": "dag-db", "beta_warmup": 0.05}},
    "dag-kl": {"objective": {"name": "dag-kl", "beta_warmup": 0.05}},
    "b2 + ddpo": {"objective": {"name": "ddpo"}, "rollout": _B2},
    "b2 + dag-db": {"objective": {"name": "dag-db", "beta_warmup": 0.05}, "rollout": _B2},
    "relative-tb": {
        "objective": {"name": "relative-tb"},
        "rollout": {"images_per_prompt": IMAGES, "reduction": "sum"},
    },
}
"""Method to the sections in which it differs from the others."""

_RATES = ("train", "learning_rate", (2e-3, 4e-3, 8e-3))
_BETAS = ("objective", "beta", (30.0, 100.0, 300.0))
KNOBS: Final[dict[str, tuple[str, str, tuple[float, ...]]]] = {
    "ddpo": _RATES,
    "grpo": _RATES,
    "dag-db": _BETAS,
    "dag-kl": _BETAS,
    "b2 + ddpo": _RATES,
    "b2 + dag-db": _BETAS,
    "relative-tb": ("objective", "beta", (20.0, 100.0, 500.0)),
}
"""Method to the key that is tuned, section and name, and the values it may have.

The β of relative-tb applies to sums over the latent, the others to means.
"""


def run_tables(
    method: str, task: str, *, seed: int, value: float, epochs: int, std_floor: float, output: Path
) -> dict[str, Any]:
    """The run file of one run; value: of the method's knob.

    std_floor: without one, the step before the last of these 6 has so little noise (0.041, from a state with 0.44) that
        the gradient of its log-density drowns what the other steps could teach a policy gradient.
    """
    own, (section, key, _) = METHODS[method], KNOBS[method]
    tables: dict[str, Any] = {
        "seed": seed,
        "output": str(output),
        "trackers": [],
        "model": {"name": "shapes", "lora": {"rank": 8}},
        "prompts": {"name": "shapes-held-out", "names_at_most": 2},
        "rewards": [TASKS[task]],
        "objective": dict(own["objective"]),
        "rollout": {"steps": 6, "guidance_scale": 1.0, "std_floor": std_floor, **own.get("rollout", {})},
        "state_flow": {"widths": [32, 64]},
        "train": {
            "epochs": epochs, "trajectories": CAPTIONS * IMAGES, "updates": 1, "learning_rate": 3e-3,
            "auxiliary_learning_rate": 5e-3, "ema": 0.9,
        },
        "evaluate": {"samples": 1},
        "checkpoint": {"every": epochs},
    }  # fmt: skip
    tables[section][key] = value
    return tables


@cache
def registry() -> Registry:
    return load_registry(())


def run(tables: dict[str, Any], images: int, every: int) -> dict[str, Any]:
    """Trains, and measures every few epochs: the object that is kept of a run.

    images: per caption in an evaluation. every: epochs between two evaluations.
    """
    started, evaluations, transitions = time.perf_counter(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        config = structure_run({**tables, "output": str(Path(folder) / "run")}, registry())
        trainer = Trainer(config, registry())
        for metrics in trainer:
            transitions += metrics["transitions"]
            if metrics["epoch"] % every == 0:
                evaluations.append({"trajectories": metrics["trajectories"], **evaluated(trainer, images)})
    seconds = time.perf_counter() - started
    return {"run": tables, "evaluations": evaluations, "transitions": transitions, "seconds": seconds}


def base(tables: dict[str, Any], images: int) -> dict[str, Any]:
    """The same object of the model before training, with one evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        config = structure_run({**tables, "output": str(Path(folder) / "run")}, registry())
        return {"evaluations": [{"trajectories": 0, **evaluated(Trainer(config, registry()), images)}]}


def evaluated(trainer: Trainer, images: int) -> dict[str, float]:
    """What the model draws of each caption, from the same noise in every run.

    reward: mean of the task's reward, without its weight; reward_error: its standard error.
    match, full: means of `shapes-match`, without and with `strict`.
    entropy: of the background plus that of the size, in nats, within a caption (`dagsdk_shapes.measure`).
    distance: of two pictures of a caption (`distance`).
    """
    prompts = fixed_prompts(trainer.components.prompts, CAPTIONS * images)
    pictures = drawn(trainer, prompts, first_seed=1000)
    [rewards] = pictures.rewards.values()
    mean, error = mean_and_error(rewards)
    found = measure(pictures.images, prompts)
    return {
        "reward": mean,
        "reward_error": error,
        "match": found.match,
        "full": found.full,
        **{f"entropy of {name}": value for name, value in found.entropy.items()},
        "entropy": sum(found.entropy.values()),
        "distance": distance(pictures.images, prompts),
    }


def distance(images: Tensor, prompts: Sequence[Prompt]) -> float:
    """Root mean square difference of two pictures of a prompt, averaged over all pairs, then over prompts; in [0, 1].

    images: shape (b, 3, h, w), floating point in [0, 1]; at least two per prompt.
    """
    pictures, texts = images.flatten(1).double(), [prompt.text for prompt in prompts]
    means = []
    for text in dict.fromkeys(texts):
        own = pictures[torch.tensor([other == text for other in texts])]
        means.append(torch.pdist(own).mean() / math.sqrt(own.shape[1]))
    return float(torch.stack(means).mean())
