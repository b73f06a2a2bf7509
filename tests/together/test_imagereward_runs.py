"""Whole runs with ImageReward of a small size and random weights: only the run file differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dagsdk.cli.main import main

pytest.importorskip("dagsdk_imagereward")

RUN = """
output = "{folder}/run"
trackers = []
[model]
name = "shapes"
[prompts]
name = "shapes"
[[rewards]]
name = "imagereward"
checkpoint = "{folder}"
tokenizer = "{folder}"
config = "{folder}/sizes.json"
sha256 = ""
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

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "star", "ring", "on", "background"]
SIZES = {
    "vision": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    "text": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
}
SIZES["vision"] |= {"image_size": 32, "patch_size": 8}
SIZES["text"] |= {"vocab_size": len(WORDS) + 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from dagsdk_imagereward.keys import published_name
    from dagsdk_imagereward.network import Network
    from dagsdk_imagereward.sizes import read_sizes

    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    (tmp_path / "sizes.json").write_text(json.dumps(SIZES))
    network = Network(read_sizes(str(tmp_path / "sizes.json")))
    draws = torch.Generator().manual_seed(0)
    weights = {
        published_name(name): 0.2 * torch.randn(weight.shape, generator=draws)
        for name, weight in network.state_dict().items()
    }
    torch.save(weights, tmp_path / "ImageReward.pt")
    return tmp_path


@pytest.mark.parametrize("objective", ["dag-db", "dag-kl"])
def test_it_trains(folder: Path, capsys: pytest.CaptureFixture[str], objective: str) -> None:
    (folder / "run.toml").write_text(RUN.format(folder=folder, objective=objective))
    assert main(["train", str(folder / "run.toml")]) == 0
    assert "epoch 2/2" in capsys.readouterr().out
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert (folder / "run" / "checkpoints" / "epoch-0002" / "pytorch_lora_weights.safetensors").is_file()


def test_a_missing_checkpoint_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "run.toml").write_text(RUN.format(folder=folder, objective="dag-db"))
    (folder / "ImageReward.pt").unlink()
    assert main(["train", str(folder / "run.toml")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and "there is no file" in shown and "Traceback" not in shown
