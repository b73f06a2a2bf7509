import json

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from dagsdk_shapes.captions import WORDS, read
from dagsdk_shapes.drawing import describe, sample_scenes
from dagsdk_shapes.pretrain.__main__ import main
from dagsdk_shapes.pretrain.denoiser import captions
from dagsdk_shapes.pretrain.tokenizer import MAX_LENGTH, build_tokenizer

BUDGET = ["--steps", "3", "--autoencoder-steps", "3", "--pictures", "64", "--save-every", "2", "--threads", "1"]


def weights(folder):
    files = sorted(folder.rglob("*.safetensors"))
    assert len(files) == 3
    return [load_file(file) for file in files]


def test_a_short_run_repeats_and_loads(tmp_path):
    main(["--out", str(tmp_path / "one"), *BUDGET])
    main(["--out", str(tmp_path / "two"), *BUDGET])
    for one, two in zip(weights(tmp_path / "one"), weights(tmp_path / "two"), strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "one")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["a star"] * 2, num_inference_steps=2, eta=1.0, output_type="np").images
    assert images.shape == (2, 32, 32, 3)
    metrics = json.loads((tmp_path / "one" / "training.json").read_text(encoding="utf-8"))
    assert metrics["denoiser"]["steps"] == 3
    assert metrics["autoencoder"]["psnr_db"] > 0


def test_each_word_is_one_token_and_others_are_bytes():
    tokenizer = build_tokenizer(WORDS)
    tokens = [tokenizer(word).input_ids for word in WORDS]
    assert all(len(token) == 3 for token in tokens)  # start, word, end
    assert len({token[1] for token in tokens}) == len(WORDS)
    zebra = tokenizer("zebra, 日本").input_ids
    assert len(zebra) > 4
    assert tokenizer.eos_token_id not in zebra[1:-1]
    padded = tokenizer("a star", padding="max_length", truncation=True).input_ids
    assert len(padded) == MAX_LENGTH


def test_captions_are_true_of_their_scenes():
    generator = torch.Generator().manual_seed(0)
    scenes = sample_scenes(2000, generator)
    texts = captions(scenes, generator)
    for text, scene in zip(texts, scenes, strict=True):
        assert read(text).named().items() <= describe(scene).named().items()
    assert texts.count("") / 2000 == pytest.approx(0.1, abs=0.03)
    assert sum(len(read(text).named()) == 4 for text in texts) / 2000 == pytest.approx(0.384, abs=0.04)
