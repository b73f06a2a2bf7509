"""Grids, scatters and curves: what they show, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from dagsdk.evaluation.pictures import save_curves, save_grid


@pytest.mark.parametrize(
    "captions", [(), ("a short one", "a caption so long that it cannot be on one line, nor on two")]
)
def test_a_grid_shows_each_image_where_it_belongs(tmp_path: Path, captions: tuple[str, ...]) -> None:
    images = torch.zeros(2, 3, 32, 32)
    images[0, 0] = 1.0
    images[1, 2] = 1.0
    save_grid(images, tmp_path / "grid.png", captions)
    grid = Image.open(tmp_path / "grid.png")
    assert grid.getpixel((grid.width // 4, 48)) == (255, 0, 0)
    assert grid.getpixel((3 * grid.width // 4, 48)) == (0, 0, 255)


def test_large_images_are_not_enlarged_and_a_short_row_is_white(tmp_path: Path) -> None:
    save_grid(torch.zeros(9, 3, 100, 120), tmp_path / "grid.png")
    grid = Image.open(tmp_path / "grid.png")
    assert grid.size == (8 * 120, 200)
    assert grid.getpixel((959, 199)) == (255, 255, 255)


def test_vectors_and_curves_are_drawn(tmp_path: Path) -> None:
    save_grid(torch.randn(10, 2), tmp_path / "scatter.png")
    rows = [
        {"epoch": 1, "reward/mean": 0.1, "reward/std": 0.1, "loss": 3.0},
        {"epoch": 2, "reward/mean": 0.2, "reward/std": 0.1, "loss": 2.0, "evaluate/mean": 0.3,
         "evaluate/stderr": 0.01, "evaluate/base": 0.1},
    ]  # fmt: skip
    save_curves(rows, tmp_path / "curves.png")
    assert all(Image.open(tmp_path / name).width > 100 for name in ("scatter.png", "curves.png"))
