"""Measures how well a model follows its captions: `python -m dagsdk_shapes.evaluate [--model DIR]`.

Pictures are sampled by plain diffusers with stochastic DDIM (eta 1), as in training. Every prompt set is sampled with
every given number of steps and guidance scale.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes import MODEL_FOLDER, prompts
from dagsdk_shapes.measure import Measurement, measure, table

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor

BATCH = 64


def sample(
    pipeline: StableDiffusionPipeline, prompts: Sequence[Prompt], *, steps: int, guidance: float, seed: int
) -> Tensor:
    """One picture per prompt, shape (b, 3, 32, 32), float32 in [0, 1]; the same seed gives the same pictures."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    images = [
        pipeline(
            [prompt.text for prompt in prompts[first : first + BATCH]],
            num_inference_steps=steps,
            guidance_scale=guidance,
            eta=1.0,
            generator=generator,
            output_type="pt",
        ).images
        for first in range(0, len(prompts), BATCH)
    ]
    return torch.cat(images).float()


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    import torch
    from diffusers import StableDiffusionPipeline

    if options.threads:
        torch.set_num_threads(options.threads)
    pipeline = StableDiffusionPipeline.from_pretrained(options.model)
    pipeline.set_progress_bar_config(disable=True)
    sets = {
        "shapes": prompts.training_prompts(prompts.CaptionOptions(count=options.count)),
        "shapes-held-out": prompts.held_out_prompts(prompts.CaptionOptions()),
        "shapes-free": prompts.free_prompts(prompts.FreeCaptionOptions()),
    }
    measurements: dict[str, Measurement] = {}
    for name, chosen in sets.items():
        repeated = [chosen[row % len(chosen)] for row in range(options.count)]
        for steps in options.steps:
            for guidance in options.guidance:
                images = sample(pipeline, repeated, steps=steps, guidance=guidance, seed=options.seed)
                measurements[f"{name}, {steps} steps, guidance {guidance:g}"] = measure(images, repeated)
    print(table(measurements))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dagsdk_shapes.evaluate", description=__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="pipeline folder (default: embedded)")
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0, 5.0])
    parser.add_argument("--count", type=int, default=512, help="pictures per set (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's own)")
    return parser


if __name__ == "__main__":
    main()
