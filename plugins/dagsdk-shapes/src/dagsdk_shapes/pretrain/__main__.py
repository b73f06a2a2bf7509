"""The command `python -m dagsdk_shapes.pretrain`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from dagsdk_shapes.pretrain.autoencoder import train_autoencoder
from dagsdk_shapes.pretrain.denoiser import build_pipeline, train_denoiser
from dagsdk_shapes.pretrain.saving import save_pipeline


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)

    def report(line: str) -> None:
        print(line, flush=True)

    metrics: dict[str, object] = {"seed": options.seed, "torch": torch.__version__}
    if options.autoencoder is None:
        autoencoder, metrics["autoencoder"] = train_autoencoder(options.autoencoder_steps, generator, report)
        autoencoder.save_pretrained(options.out / "vae")
    else:
        autoencoder = AutoencoderKL.from_pretrained(options.autoencoder).eval().requires_grad_(False)
        metrics["autoencoder"] = {"from": options.autoencoder.name}
    report(f"autoencoder {metrics['autoencoder']}")

    pipeline = build_pipeline(autoencoder)

    def save() -> None:
        save_pipeline(pipeline, options.out)

    metrics["denoiser"] = train_denoiser(
        pipeline, options.steps, options.pictures, generator, report, save, options.save_every
    )
    save()
    (options.out / "training.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    report(f"saved {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dagsdk_shapes.pretrain",
        description="Train the embedded text-to-image model from scratch. The same options on the same "
        "machine and versions give the same weights.",
    )
    parser.add_argument("--out", type=Path, required=True, help="pipeline folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=9500, help="of the denoiser (default %(default)s)")
    parser.add_argument("--autoencoder-steps", type=int, default=2500, help="(default %(default)s)")
    parser.add_argument("--pictures", type=int, default=24576, help="drawn for the denoiser (default %(default)s)")
    parser.add_argument("--autoencoder", type=Path, help="folder of a trained autoencoder, to skip its training")
    parser.add_argument("--save-every", type=int, default=1500, help="denoiser steps (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    return parser


if __name__ == "__main__":
    main()
