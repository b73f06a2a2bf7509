"""First stage: an autoencoder from 3x32x32 pictures to 4x8x8 latents of unit standard deviation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from dagsdk_shapes.attributes import IMAGE_SIZE
from dagsdk_shapes.drawing import draw, sample_scenes
from dagsdk_shapes.pretrain.optimiser import Optimiser

BATCH = 32
KL_WEIGHT = 3e-4
"""Weight of the mean divergence per latent number, against a mean absolute error per pixel."""


def build_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder of 0.65 M parameters, with a small decoder, since every picture is decoded."""
    return AutoencoderKL(
        sample_size=IMAGE_SIZE,
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def train_autoencoder(
    steps: int, generator: torch.Generator, report: Callable[[str], None]
) -> tuple[AutoencoderKL, dict[str, Any]]:
    """The trained autoencoder, its scaling factor set, and its metrics.

    generator: draws the pictures and the latents' noise. Weights are initialised from the global seed.
    report: receives lines of progress.
    """
    autoencoder = build_autoencoder().to(memory_format=torch.channels_last)
    optimiser = Optimiser(autoencoder.parameters(), rate=2e-3, steps=steps)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        images = 2 * draw(sample_scenes(BATCH, generator), generator) - 1
        posterior = autoencoder.encode(images).latent_dist
        decoded = autoencoder.decode(posterior.sample(generator)).sample
        error = (decoded - images).abs().mean()
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        optimiser.step(error + KL_WEIGHT * divergence)
        if step % 100 == 0 or step == steps:
            minutes = (time.perf_counter() - start) / 60
            report(f"autoencoder {step}/{steps}  error {error:.4f}  kl {divergence:.3f}  {minutes:.1f} min")
    autoencoder.eval().requires_grad_(False)

    images = draw(sample_scenes(512, generator), generator)
    latents = encode(autoencoder, images)
    autoencoder.register_to_config(scaling_factor=round(1 / float(latents.std()), 5))
    decoded = autoencoder.decode(latents).sample / 2 + 0.5
    return autoencoder, {
        "steps": steps,
        "batch": BATCH,
        "parameters": sum(weight.numel() for weight in autoencoder.parameters()),
        "mean_absolute_error": round(float((decoded - images).abs().mean()), 5),
        "psnr_db": round(float(-10 * (decoded - images).square().mean().log10()), 2),
        "scaling_factor": autoencoder.config.scaling_factor,
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


@torch.no_grad()
def encode(autoencoder: AutoencoderKL, images: Tensor) -> Tensor:
    """Means of the latents of pictures, unscaled, shape (n, 4, 8, 8).

    images: shape (n, 3, 32, 32), in [0, 1]
    """
    means = [autoencoder.encode(2 * chunk - 1).latent_dist.mean for chunk in images.split(64)]
    return torch.cat(means).contiguous()
