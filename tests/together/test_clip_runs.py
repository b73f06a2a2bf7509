"""Whole runs with the rewards of dagsdk-clip and dagsdk-aesthetic, on small random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from dagsdk.cli.main import main

RUN = """
output = "{output}"
trackers = []
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
{reward}
[objective]
name = "{objective}"
beta = 10.0
[rollout]
steps = 4
guidance_scale = 3.0
[state_flow]
widths = [16, 32]
[train]
epochs = 2
trajectories = 8
[evaluate]
samples = 4
"""
VISION = {"image_size": 32, "patch_size": 8}
ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"layers": 1, "width": 32, "head_width": 16, **VISION},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By name, the lines of a run file."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = open_clip.CLIP(**ARCHITECTURE).state_dict()
        layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
        picked = CLIPModel(CLIPConfig(text_config=layers, vision_config={**layers, **VISION}, projection_dim=16))
        sizes = (16, 1024, 128, 64, 16, 1)
        head = {}
        for layer, inside, outside in zip((0, 2, 4, 6, 7), sizes, sizes[1:], strict=False):
            head[f"layers.{layer}.weight"] = torch.randn(outside, inside) * inside**-0.5
            head[f"layers.{layer}.bias"] = torch.randn(outside)
    (folder / "clip").mkdir()
    config = {"model_cfg": ARCHITECTURE, "preprocess_cfg": {}}
    (folder / "clip" / "open_clip_config.json").write_text(json.dumps(config))
    save_file(state, folder / "clip" / "open_clip_model.safetensors")
    picked.save_pretrained(folder / "picked")
    save_file(head, folder / "head.safetensors")
    return {
        "clip-score": f'name = "clip-score"\nweights = "{folder}/clip"\ntemplate = "a photo of {{prompt}}"',
        "pickscore": f'name = "pickscore"\nmodel = "{folder}/picked"',
        "hpsv2": f'name = "hpsv2"\nweights = "{folder}/clip"',
        "aesthetic": f'name = "aesthetic"\nweights = "{folder}/clip"\nhead = "{folder}/head.safetensors"',
    }


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
@pytest.mark.parametrize("reward", ["clip-score", "pickscore", "hpsv2", "aesthetic"])
def test_every_objective_trains_on_every_reward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rewards: dict[str, str], reward: str, objective: str
) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(output=tmp_path / "run", reward=rewards[reward], objective=objective))
    assert main(["train", str(file)]) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert (tmp_path / "run" / "checkpoints" / "epoch-0002" / "pytorch_lora_weights.safetensors").is_file()


def test_missing_weights_end_a_run_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["huggingface_hub"].constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(output=tmp_path / "run", reward='name = "aesthetic"', objective="dag-db"))
    assert main(["train", str(file)]) == 1
    shown = capsys.readouterr().err
    assert "'aesthetic-model.pth' of 'trl-lib/ddpo-aesthetic-predictor' on the Hub could not be fetched" in shown
    assert "set 'head' to the path of a copy" in shown and "Traceback" not in shown
