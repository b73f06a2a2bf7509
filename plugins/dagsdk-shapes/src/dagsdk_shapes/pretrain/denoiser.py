"""Second stage: a text encoder and a UNet, trained together on latents encoded once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dagsdk_shapes.attributes import Attributes
from dagsdk_shapes.captions import WORDS, write
from dagsdk_shapes.drawing import describe, draw, sample_scenes
from dagsdk_shapes.pretrain.autoencoder import encode
from dagsdk_shapes.pretrain.optimiser import Optimiser
from dagsdk_shapes.pretrain.tokenizer import MAX_LENGTH, build_tokenizer

BATCH = 64
TEXT_WIDTH = 64
EMPTY_CAPTIONS = 0.1
FULL_CAPTIONS = 0.35


def build_pipeline(autoencoder: AutoencoderKL) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline around this autoencoder, its text encoder and UNet untrained."""
    tokenizer = build_tokenizer(WORDS)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # Attention at 4x4 only: captions describe the whole picture, and 8x8 attention would cost as much as all
    # convolutions together.
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(64, 80),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
        timestep_spacing="leading",
        # With velocity the first steps, which have little signal, are still useful; with ten steps they matter.
        prediction_type="v_prediction",
    )
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def train_denoiser(
    pipeline: StableDiffusionPipeline,
    steps: int,
    pictures: int,
    generator: torch.Generator,
    report: Callable[[str], None],
    save: Callable[[], None],
    save_every: int,
) -> dict[str, Any]:
    """Trains the pipeline's UNet and text encoder in place; they end with their moving average. Returns metrics.

    pictures: how many are drawn and encoded before training; captions are drawn again for each batch.
    save: called every `save_every` steps, with the moving average in the pipeline.
    """
    start = time.perf_counter()
    scenes = sample_scenes(pictures, generator)
    latents = torch.cat([encode(pipeline.vae, draw(chunk, generator)) for chunk in scenes.split(1024)])
    latents *= pipeline.vae.config.scaling_factor
    report(f"encoded {pictures} pictures, std {latents.std():.3f}, {time.perf_counter() - start:.0f} s")

    unet = pipeline.unet.to(memory_format=torch.channels_last).train()
    text_encoder = pipeline.text_encoder.train()
    weights = [*unet.parameters(), *text_encoder.parameters()]
    average = EMAModel(weights, decay=0.999, use_ema_warmup=True, power=0.75, foreach=True)
    optimiser = Optimiser(weights, rate=1e-3, steps=steps)
    smooth, history = 1.0, []
    for step in range(1, steps + 1):
        rows = torch.randint(pictures, (BATCH,), generator=generator)
        states = text_encoder(_tokens(pipeline.tokenizer, captions(scenes[rows], generator)))[0]
        clean = latents[rows].contiguous(memory_format=torch.channels_last)
        noise = torch.randn(clean.shape, generator=generator)
        times = torch.randint(pipeline.scheduler.config.num_train_timesteps, (BATCH,), generator=generator)
        noisy = pipeline.scheduler.add_noise(clean, noise, times)
        target = pipeline.scheduler.get_velocity(clean, noise, times)
        loss = mse_loss(unet(noisy, times, states).sample, target)
        optimiser.step(loss)
        average.step(weights)
        smooth += (loss.item() - smooth) * max(0.01, 1 / step)
        if step % 250 == 0 or step == steps:
            minutes = (time.perf_counter() - start) / 60
            history.append([step, round(smooth, 4)])
            report(f"denoiser {step}/{steps}  loss {smooth:.4f}  {minutes:.1f} min")
        if step % save_every == 0 and step < steps:
            average.store(weights)
            average.copy_to(weights)
            save()
            average.restore(weights)
    average.copy_to(weights)
    unet.eval()
    text_encoder.eval()
    return {
        "steps": steps,
        "batch": BATCH,
        "pictures": pictures,
        "parameters": sum(weight.numel() for weight in unet.parameters()),
        "text_encoder_parameters": sum(weight.numel() for weight in text_encoder.parameters()),
        "loss": history,
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


def captions(scenes: Tensor, generator: torch.Generator) -> list[str]:
    """A caption for each scene, shape (n, 4): empty, full, or naming each attribute with probability one half."""
    chance = torch.rand(len(scenes), generator=generator)[:, None]
    keep = torch.rand(scenes.shape, generator=generator) < 0.5
    keep |= chance < EMPTY_CAPTIONS + FULL_CAPTIONS
    empty = (chance < EMPTY_CAPTIONS)[:, 0].tolist()
    described: list[Attributes] = [describe(scene) for scene in scenes.masked_fill(~keep, -1)]
    return ["" if blank else write(attributes) for blank, attributes in zip(empty, described, strict=True)]


def _tokens(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    return torch.as_tensor(tokens.input_ids)
