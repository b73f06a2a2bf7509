"""A whole run on the tiny pipeline; as a program, one that may kill itself in the middle.

python tiny_run.py OUTPUT OBJECTIVE WHEN, with WHEN one of: never, sampling, update, checkpoint, resume
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny import tiny_pipeline

from dagsdk.builtin import dagsdk_objectives
from dagsdk.config.schema import (
    CheckpointConfig,
    EvaluateConfig,
    LoraConfig,
    ModelConfig,
    ObjectiveConfig,
    PromptsConfig,
    RewardConfig,
    RolloutConfig,
    RunConfig,
    StateFlowConfig,
    TrainConfig,
)
from dagsdk.errors import UnknownComponentError
from dagsdk.models.stable_diffusion import StableDiffusion
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rollouts.independent import Independent
from dagsdk.rollouts.options import IndependentOptions
from dagsdk.run import checkpoints
from dagsdk.run.components import Components
from dagsdk.run.trainer import Trainer
from dagsdk.specs import BuildContext

PROMPTS = tuple(Prompt(text) for text in ("a cat", "b", "c d", "", "ünïcode ✨"))


class Versions:
    """Stands for a registry: live components have no version."""

    def provider(self, kind: str, name: str) -> object:
        raise UnknownComponentError(name)


def brightness(images: torch.Tensor, prompts: object) -> torch.Tensor:
    return images.mean((1, 2, 3)) * 10


def config(output: Path, objective: str = "dag-db", **train: Any) -> RunConfig:
    options = {
        "epochs": 4, "trajectories": 6, "sample_batch": 4, "micro_batch": 5, "updates": 2,
        "learning_rate": 1e-2, "auxiliary_learning_rate": 1e-2, "ema": 0.5,
    }  # fmt: skip
    return RunConfig(
        output=str(output),
        trackers=(),
        model=ModelConfig(name="tiny", lora=LoraConfig(rank=2)),
        prompts=(PromptsConfig(name="texts"),),
        rewards=(RewardConfig(name="brightness"),),
        objective=ObjectiveConfig(name=objective),
        rollout=RolloutConfig(steps=4, guidance_scale=2.0),
        state_flow=StateFlowConfig(widths=(8, 8)),
        train=TrainConfig(**{**options, **train}),
        evaluate=EvaluateConfig(samples=4, every=2),
        checkpoint=CheckpointConfig(every=2),
    )


def components(folder: Path, objective: str = "dag-db", reward: Any = brightness, **parts: Any) -> Components:
    spec = next(spec for spec in dagsdk_objectives() if spec.name == objective)
    options = spec.options(beta=3.0)
    live = {
        "model": StableDiffusion(tiny_pipeline(folder / "tokenizer"), "tiny"),
        "prompts": PROMPTS,
        "held_out": PROMPTS[:2],
        "reward": RewardMixture([("brightness", 1.0, reward)]),
        "objective": spec.make(options, BuildContext()),
        "needs": spec.needs_of(options),
        "rollout": Independent(IndependentOptions(images_per_prompt=2)),
    }
    return Components(**{**live, **parts})


def trainer(output: Path, objective: str = "dag-db", *, resume: bool = False, **options: Any) -> Trainer:
    live = components(output.parent / f"{output.name}-model", objective)
    return Trainer(config(output, objective), Versions(), resume=resume, components=live, **options)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(output: str, objective: str, when: str) -> None:
    torch.set_num_threads(1)

    def progress(stage: str, done: int, total: int) -> None:
        # in the middle of the fourth epoch: two epochs are saved, a third one is not
        if stage == when and run.epoch == 3 and done >= total // 2:
            die()

    run = trainer(Path(output), objective, resume=when == "resume", progress=progress)
    if when == "checkpoint":
        sync = checkpoints.sync
        calls: list[Path] = []

        def sync_or_die(path: Path) -> None:
            calls.append(path)
            if run.epoch == 4 and path.suffix == ".safetensors":
                die()
            sync(path)

        checkpoints.sync = sync_or_die
    for _ in run:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
