"""Aligns a live pipeline with a Python function, in twenty seconds on two CPU cores, and saves the LoRA.

python docs/examples/embed.py [FOLDER]
"""

import sys
from pathlib import Path

from diffusers import StableDiffusionPipeline
from PIL import Image, ImageStat

import dagsdk
from dagsdk_shapes import MODEL_FOLDER

PROMPTS = ["a circle", "a star", "a ring", "a cross"]


def blueness(images: list[Image.Image], prompts: list[str]) -> list[float]:
    """How much of an image's light is blue, from 0 to 1. The annotation asks for PIL images."""
    light = [ImageStat.Stat(image).sum for image in images]
    return [blue / max(1, red + green + blue) for red, green, blue in light]


def main(folder: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL_FOLDER)
    with dagsdk.align(
        pipeline,
        prompts=PROMPTS,
        reward=blueness,
        objective="dag-db",
        beta=50,
        beta_warmup=0.25,
        epochs=6,
        trajectories=16,
        steps=6,
        guidance_scale=3,
        samples=16,
        learning_rate=6e-3,
        rank=8,
        state_flow={"widths": [32, 64]},
    ) as run:
        for epoch in run:
            print(f"epoch {epoch['epoch']}: blueness {epoch['reward/mean']:.3f} ± {epoch['reward/std']:.3f}")
        found = run.history[-1]
        print(f"the same prompts and seeds: {found['evaluate/base']:.3f} before, {found['evaluate/mean']:.3f} after")
        run.save(folder)
    print(f"LoRA for diffusers: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "blue-lora"))
