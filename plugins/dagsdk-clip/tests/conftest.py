"""Small CLIPs with random weights, in the files that real ones come in. No hub."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
NAME = "dagsdk-tiny-clip"


def _random(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Large enough that images and texts come out unlike one another."""
    drawn = torch.randn(shape, generator=generator)
    if len(shape) < 2 or "position" in name:
        is_scale = name.endswith("weight") and ("ln" in name or "norm" in name)
        return 0.1 * drawn + is_scale
    return 1.5 * drawn * shape[1:].numel() ** -0.5


@pytest.fixture(scope="session")
def state() -> dict[str, Tensor]:
    """Weights for `ARCHITECTURE`."""
    generator = torch.Generator().manual_seed(0)
    found = {
        name: _random(name, value.shape, generator)
        for name, value in open_clip.CLIP(**ARCHITECTURE).state_dict().items()
    }
    return {**found, "logit_scale": torch.tensor(3.0)}


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Callable[..., Path]:
    """A folder with open_clip_config.json and weights."""

    def make(**preprocessing: object) -> Path:
        folder = tmp_path_factory.mktemp("clip")
        config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": preprocessing}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        save_file(state, folder / "open_clip_model.safetensors")
        return folder

    return make


@pytest.fixture(scope="session")
def folder(make_folder: Callable[..., Path]) -> Path:
    return make_folder(mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3], interpolation="bicubic", resize_mode="shortest")


@pytest.fixture(scope="session")
def architecture(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of `ARCHITECTURE` in open_clip's list."""
    path = tmp_path_factory.mktemp("architectures") / f"{NAME}.json"
    path.write_text(json.dumps(ARCHITECTURE))
    open_clip.add_model_config(path)
    return NAME


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    """As HPS v2.1 is published: a checkpoint of training."""
    path = tmp_path_factory.mktemp("checkpoint") / "hps.pt"
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


@pytest.fixture(scope="session")
def clip_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As PickScore is published: a folder of transformers, of the years when eos_token_id was 2."""
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = CLIPConfig(
        text_config={**layers, "hidden_size": 32, "eos_token_id": 2},
        vision_config={**layers, "hidden_size": 32, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        logit_scale_init_value=3.0,
    )
    model = CLIPModel(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if name != "logit_scale":
            parameter.data = _random(name, parameter.shape, generator)
    path = tmp_path_factory.mktemp("pickscore")
    model.save_pretrained(path)
    return path
