"""What a run shows: grids of images, scatters of vectors, curves of metrics."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers.utils import make_image_grid
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dagsdk.errors import ModelError
from dagsdk.rewards.images import to_uint8

LEAST_SIDE = 96


def save_grid(images: Tensor, path: Path, captions: Sequence[str] = (), columns: int = 8) -> None:
    """Images (n, 3, h, w) in [0, 1] as one PNG, small ones enlarged; vectors (n, d) as a scatter of the first two.

    captions: written below the images. The rows are filled from the left; the rest of the last row is white.
    """
    if images.ndim == 2:
        _scatter(images, path)
        return
    tiles = to_pil(images)
    scale = max(1, math.ceil(LEAST_SIDE / tiles[0].height))
    tiles = [tile.resize((tile.width * scale, tile.height * scale), Image.Resampling.NEAREST) for tile in tiles]
    if captions:
        tiles = [_captioned(tile, text) for tile, text in zip(tiles, captions, strict=True)]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    tiles += [Image.new("RGB", tiles[0].size, "white")] * (rows * columns - len(tiles))
    make_image_grid(tiles, rows=rows, cols=columns).save(path)


def to_pil(images: Tensor, source: str = "model") -> list[Image.Image]:
    """Images (n, 3, h, w) in [0, 1] as PIL images. Raises ModelError for plain vectors."""
    if images.ndim != 4:
        raise ModelError(
            f"model {source!r} draws vectors of shape {tuple(images.shape[1:])}, not pictures; "
            "use dagsdk.evaluation.held_out.sampled_images for tensors"
        )
    return [Image.fromarray(array) for array in to_uint8(images).cpu().numpy()]


def _captioned(tile: Image.Image, text: str) -> Image.Image:
    """The tile on white, with up to three lines of text below it."""
    size = max(9, tile.width // 12)
    lines = textwrap.wrap(text, width=max(8, int(tile.width / (0.52 * size))), max_lines=3, placeholder=" …")
    framed = Image.new("RGB", (tile.width + 6, tile.height + 6 + 4 * size), "white")
    framed.paste(tile, (3, 3))
    ImageDraw.Draw(framed).multiline_text(
        (4, tile.height + 4), "\n".join(lines), fill="black", font=ImageFont.load_default(size), spacing=1
    )
    return framed


def _scatter(vectors: Tensor, path: Path) -> None:
    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    points = vectors.detach().cpu().numpy()
    axes.scatter(points[:, 0], points[:, 1] if points.shape[1] > 1 else [0] * len(points), s=4)
    axes.set_aspect("equal")
    figure.savefig(path)


def save_curves(metrics: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Reward, held-out reward and loss by epoch, as one PNG."""
    panels = [
        ("reward/mean", "training reward", "reward/std"),
        ("evaluate/mean", "held-out reward", "evaluate/stderr"),
        ("loss", "loss", None),
    ]
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, (key, title, spread) in zip(figure.subplots(1, 3), panels, strict=True):
        rows = [row for row in metrics if key in row]
        epochs, values = [row["epoch"] for row in rows], [row[key] for row in rows]
        axes.plot(epochs, values, marker="." if len(rows) < 30 else None)
        if spread is not None:
            low = [row[key] - row[spread] for row in rows]
            high = [row[key] + row[spread] for row in rows]
            axes.fill_between(epochs, low, high, alpha=0.2)
        if key == "evaluate/mean" and rows:
            axes.axhline(rows[0]["evaluate/base"], linestyle="--", color="grey", label="base model")
            axes.legend()
        axes.set(title=title, xlabel="epoch")
    figure.savefig(path, dpi=100)
