"""Writes a pipeline folder that versions 4 and 5 of transformers can read."""

from __future__ import annotations

import json
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from dagsdk_shapes.captions import WORDS
from dagsdk_shapes.pretrain.tokenizer import save_vocabulary

_PREFIX = "text_model."


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Saves a pipeline with safetensors weights into this folder."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    save_vocabulary(WORDS, folder / "tokenizer")
    # The path on this machine does not belong in a model folder.
    config = folder / "vae" / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    # Version 5 leaves out a prefix that version 4 needs, and reads both.
    file = folder / "text_encoder" / "model.safetensors"
    weights = {_PREFIX + name.removeprefix(_PREFIX): weight for name, weight in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
