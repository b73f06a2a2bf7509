from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip import SimpleTokenizer
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip import CLIPImageProcessor

from dagsdk import BuildContext, Prompt
from dagsdk.errors import RewardError
from dagsdk.testing.samples import images
from dagsdk_clip.options import PickScoreOptions
from dagsdk_clip.pickscore import pickscore

TEXTS = ["a photo of a cat", "", "Ein großer  Bär, malt!", "two dogs " * 60]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    """transformers' own, of the vocabulary that all CLIPs have."""
    words, folder = SimpleTokenizer(), tmp_path_factory.mktemp("tokenizer")
    special = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {special.get(word, word): number for word, number in words.encoder.items()}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    merges = "\n".join(" ".join(pair) for pair in words.bpe_ranks)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    return CLIPTokenizer.from_pretrained(folder)


def _tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> dict[str, torch.Tensor]:
    return tokenizer(texts, padding=True, truncation=True, max_length=77, return_tensors="pt")


def test_tokens_are_those_of_transformers(tokenizer: CLIPTokenizer) -> None:
    ours = SimpleTokenizer()(TEXTS)
    for mine, theirs in zip(ours, _tokens(tokenizer, TEXTS)["input_ids"], strict=True):
        end = int(mine.argmax()) + 1
        assert mine[:end].tolist() == theirs[:end].tolist()


@pytest.mark.parametrize("eos", [2, 49407])
def test_rewards_are_the_logits_of_transformers(
    clip_model: Path, tmp_path: Path, tokenizer: CLIPTokenizer, eos: int
) -> None:
    folder = shutil.copytree(clip_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = eos
    (folder / "config.json").write_text(json.dumps(config))
    pictures = images(side=48)
    arrays = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor([Image.fromarray(np.array(array)) for array in arrays], return_tensors="pt")
    with torch.no_grad():
        logits = CLIPModel.from_pretrained(folder).eval()(**pixels, **_tokens(tokenizer, TEXTS)).logits_per_image
    rewards = pickscore(PickScoreOptions(model=str(folder)), BuildContext())(pictures, [Prompt(t) for t in TEXTS])
    assert torch.allclose(rewards, logits.diagonal(), atol=0.003 * 20.1)
    assert logits.diagonal().std() > 0.5


def test_position_numbers_of_old_checkpoints_are_no_weights(clip_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_model, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    new, old = (pickscore(PickScoreOptions(model=str(f)), BuildContext()) for f in (folder, clip_model))
    prompts = [Prompt(text) for text in TEXTS]
    assert torch.equal(new(images(), prompts), old(images(), prompts))


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["visual_projection.weight"]


def _add(state: dict[str, torch.Tensor]) -> None:
    state["another.weight"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "says"), [(_drop, "lacks 1 weights, such as visual"), (_add, "has unknown 1 weights, such as another")]
)
def test_weights_that_are_missing_or_too_many(clip_model: Path, tmp_path: Path, change, says: str) -> None:
    folder = shutil.copytree(clip_model, tmp_path / "model")
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RewardError, match=says):
        pickscore(PickScoreOptions(model=str(folder)), BuildContext())


def test_a_damaged_file(clip_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(clip_model, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(RewardError, match=r"could not be loaded \(.*set `model` to a folder"):
        pickscore(PickScoreOptions(model=str(folder)), BuildContext())


@pytest.mark.parametrize("model", ["yuvalkirstain/PickScore_v1", "./no/such/folder"])
def test_offline_without_a_copy(model: str) -> None:
    with pytest.raises(RewardError, match=rf"{model}.*could not be loaded.*set `model` to a folder"):
        pickscore(PickScoreOptions(model=model), BuildContext())
