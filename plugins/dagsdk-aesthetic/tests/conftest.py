"""A small CLIP and a head of its width, with random weights, in the files that real ones come in. No hub."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

WIDTH = 16
ARCHITECTURE = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def mlp() -> nn.Sequential:
    """As published, but for the width of what it takes: https://github.com/christophschuhmann/improved-aesthetic-predictor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = nn.Sequential(
            nn.Linear(WIDTH, 1024),
            nn.Dropout(0.2),
            nn.Linear(1024, 128),
            nn.Dropout(0.2),
            nn.Linear(128, 64),
            nn.Dropout(0.1),
            nn.Linear(64, 16),
            nn.Linear(16, 1),
        )
        for layer in found:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=1.5 * layer.in_features**-0.5)
    return found.eval()


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory, mlp: nn.Sequential) -> Path:
    """The file: keys layers.{0,2,4,6,7}.{weight,bias}."""
    path = tmp_path_factory.mktemp("head") / "sac+logos+ava1-l14-linearMSE.pth"
    torch.save({f"layers.{name}": value for name, value in mlp.state_dict().items()}, path)
    return path


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with open_clip_config.json and weights."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": ARCHITECTURE, "preprocess_cfg": {}}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.CLIP(**ARCHITECTURE).state_dict()
    generator = torch.Generator().manual_seed(1)
    drawn = {
        name: torch.randn(value.shape, generator=generator) * value[0].numel() ** -0.5
        for name, value in state.items()
        if value.ndim > 1 and "position" not in name
    }
    save_file({**state, **drawn}, folder / "open_clip_model.safetensors")
    return folder
