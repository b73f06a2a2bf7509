"""`dagsdk sample RUN --prompt … --out …`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--prompt", "texts", multiple=True, help="A prompt; may be given several times.")
@click.option("--prompts", "prompt_set", help="A prompt set by name, instead of --prompt.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the images.")
@click.option("--count", type=click.IntRange(min=1), help="Images in all [default: one per prompt].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the first image.")
@click.option("--epoch", type=click.IntRange(min=1), help="Checkpoint to use [default: the last].")
@click.option("--base", is_flag=True, help="Draw with the model as it was before training.")
def sample(
    run: Path,
    texts: tuple[str, ...],
    prompt_set: str | None,
    out: Path,
    count: int | None,
    seed: int,
    epoch: int | None,
    base: bool,
) -> None:
    """Draw images with the model that the run folder RUN holds.

    Image i has seed SEED + i: plain diffusers draws the same from torch.Generator().manual_seed(SEED + i), with
    the run's steps, guidance and eta. samples.jsonl, in the same folder, names the prompt and seed of each image.
    """
    if bool(texts) == bool(prompt_set):
        raise click.UsageError("give either --prompt (once or more) or --prompts NAME")

    from dagsdk.cli.bars import silence_libraries
    from dagsdk.evaluation.held_out import fixed_prompts
    from dagsdk.prompts.protocol import Prompt
    from dagsdk.rewards.images import to_uint8
    from dagsdk.run.loading import load_run_model, named_prompts

    silence_libraries()
    model = load_run_model(run, epoch=epoch, base=base)
    prompts = [Prompt(text) for text in texts] if texts else named_prompts(model, prompt_set or "")
    chosen = fixed_prompts(prompts, count or len(prompts))

    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    with (out / "samples.jsonl").open("w", encoding="utf-8") as index:
        for start, images in model.images(chosen, seed):
            for i, array in enumerate(to_uint8(images).cpu().numpy(), start):
                name = f"{i:05d}.png"
                Image.fromarray(array).save(out / name)
                index.write(json.dumps({"file": name, "prompt": chosen[i].text, "seed": seed + i}) + "\n")
    click.echo(f"{len(chosen)} images in {out}")
