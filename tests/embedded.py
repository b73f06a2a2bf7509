"""Small runs of a program that embeds dagsdk: what the tests of the public API start from."""

from __future__ import annotations

import copy
import random
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from tiny import tiny_pipeline
from torch import Tensor, nn

import dagsdk

PROMPTS = ["a cat", "a newt"]
STEPS, GUIDANCE = 3, 2.0
SMALL: dict[str, Any] = {
    "epochs": 2,
    "trajectories": 4,
    "updates": 1,
    "learning_rate": 1e-2,
    "beta": 10.0,
    "beta_warmup": 0.0,
    "rollout": {"steps": STEPS, "guidance_scale": GUIDANCE},
    "state_flow": {"widths": [8, 8]},
    "lora": {"rank": 2},
    "samples": 2,
}
"""Keys of the run file that make a run take a fraction of a second on the tiny pipeline."""


@cache
def _tiny() -> StableDiffusionPipeline:
    with tempfile.TemporaryDirectory() as folder:
        return tiny_pipeline(Path(folder))


def live() -> StableDiffusionPipeline:
    """A live pipeline, the same weights each time."""
    return copy.deepcopy(_tiny())


def saved(folder: Path) -> Path:
    """The same pipeline in a folder."""
    _tiny().save_pretrained(folder)
    return folder


def brightness(images: Tensor, prompts: list[str]) -> Tensor:
    return images.mean((1, 2, 3)) * 10


class Restless(nn.Module):
    """A reward with dropout, that also draws from every global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor, prompts: list[str]) -> Tensor:
        drawn = torch.rand(len(images)) + torch.from_numpy(np.random.rand(len(images))) + random.random()
        return self.dropout(images).mean((1, 2, 3)) * 10 + drawn


def align(model: Any, reward: Any = brightness, prompts: Any = PROMPTS, **keys: Any) -> dagsdk.Run:
    return dagsdk.align(model, prompts=prompts, reward=reward, **{**SMALL, **keys})


def picture(pipeline: StableDiffusionPipeline, seed: int = 0) -> np.ndarray:
    """What plain diffusers draws with a run's settings: shape (h, w, 3), in [0, 1]."""
    return pipeline(
        "a cat",
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        eta=1.0,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).images[0]


def metrics(run: dagsdk.Run) -> list[dict[str, Any]]:
    """The history without what the clock says."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in run.history]


def weights(run: dagsdk.Run) -> dict[str, Tensor]:
    """All parameters of the run's network, copied."""
    return {name: p.detach().clone() for name, p in run.pipeline.unet.named_parameters()}


def add_lora(
    pipeline: StableDiffusionPipeline, name: str, seed: int = 0, targets: Sequence[str] = ("to_q", "to_v")
) -> None:
    """Puts a LoRA that changes the image on the pipeline, and makes it the active one."""
    config = LoraConfig(r=2, target_modules=list(targets))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        torch.manual_seed(seed)
        pipeline.unet.add_adapter(config, adapter_name=name)
        for key, weight in pipeline.unet.named_parameters():
            if f".{name}." in key:
                weight.data = torch.randn(weight.shape)
