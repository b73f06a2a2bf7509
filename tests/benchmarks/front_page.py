"""Draws the picture of the front page: one prompt and the same seeds, by the base model, after DDPO and after DAG-DB.

    python tests/benchmarks/front_page.py --output docs/images/front-page.png

Trains both runs (front_page/ddpo.toml, front_page/dag_db.toml), takes the last checkpoint of DAG-DB and that of DDPO
whose held-out reward is nearest to it, draws --images pictures with each, and shows the first twelve, seeds 0 to 11.
What was measured of all of them is printed, and written next to the picture as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np
import torch
from attrs import asdict, frozen
from PIL import Image, ImageDraw, ImageFont

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes.measure import attributes, measure

PROMPT: Final = "a star"
FREE: Final = ("colour", "background", "size")
"""What the prompt leaves open."""
SHOWN: Final = 12
ENLARGED: Final = 3
HERE: Final = Path(__file__).resolve().parent / "front_page"


@frozen(kw_only=True)
class Row:
    """What is measured of a model's pictures.

    reward, error: mean reward and its standard error. full: share of pictures with all that the prompt names.
    bits: entropy of each attribute that the prompt leaves open. commonest: share of the commonest background.
    """

    name: str
    epoch: int | None
    images: int
    reward: float
    error: float
    full: float
    bits: dict[str, float]
    commonest: float

    @property
    def total(self) -> float:
        return sum(self.bits.values())

    @property
    def label(self) -> str:
        return f"{self.name}     reward {self.reward:.2f}     diversity {self.total:.1f} bits"


def dagsdk(*arguments: str) -> None:
    """Runs the command line, by the interpreter that runs this."""
    subprocess.run([str(Path(sys.executable).with_name("dagsdk")), *arguments], check=True)


def trained(run_file: Path, folder: Path, settings: list[str]) -> None:
    """Trains a run, or continues one that was begun before."""
    settings = [word for setting in (f"output={folder}", *settings) for word in ("--set", setting)]
    dagsdk("train", str(run_file), *settings, *(["--resume"] if folder.exists() else []))


def sampled(run: Path, out: Path, count: int, seed: int, *which: str) -> list[Image.Image]:
    """Pictures of seeds seed, seed + 1, …"""
    settings = ["--prompt", PROMPT, "--count", str(count), "--seed", str(seed), "--out", str(out)]
    dagsdk("sample", str(run), *settings, *which)
    listing = (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [Image.open(out / json.loads(line)["file"]).convert("RGB") for line in listing]


def measured(name: str, epoch: int | None, pictures: list[Image.Image]) -> Row:
    pixels = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).permute(0, 3, 1, 2).float() / 255
    found, seen = measure(pixels, [Prompt(PROMPT)] * len(pictures)), attributes(pixels)
    backgrounds = Counter(each.background for each in seen)
    return Row(
        name=name, epoch=epoch, images=len(seen), reward=found.match, error=found.match_error, full=found.full,
        bits={key: found.entropy[key] / math.log(2) for key in FREE},
        commonest=max(backgrounds.values()) / len(seen),
    )  # fmt: skip


def held_out(run: Path) -> dict[int, float]:
    """Epoch to held-out reward; every epoch that is evaluated has a checkpoint."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {each["epoch"]: each["evaluate/mean"] for each in lines if "evaluate/mean" in each}


def drawn(rows: list[tuple[Row, list[Image.Image]]], images: int) -> Image.Image:
    """The picture: a label and SHOWN pictures for each row."""
    side, gap, label, margin = 32 * ENLARGED, 5, 32, 12
    width = 2 * margin + SHOWN * side + (SHOWN - 1) * gap
    height = margin + label + len(rows) * (label + side) + (len(rows) - 1) * gap + margin
    page, font = Image.new("RGB", (width, height), "white"), ImageFont.load_default(19)
    draw = ImageDraw.Draw(page)
    measured = f"reward, and entropy of colour, background and size, over {images} images each"
    title = f"“{PROMPT}”, seeds 0 to {SHOWN - 1}; {measured}"
    draw.text((margin, margin), title, fill="#666666", font=font)
    y = margin + label
    for row, pictures in rows:
        draw.text((margin, y + 6), row.label, fill="black", font=font)
        for column, picture in enumerate(pictures[:SHOWN]):
            enlarged = picture.resize((side, side), Image.Resampling.NEAREST)
            page.paste(enlarged, (margin + column * (side + gap), y + label))
        y += label + side + gap
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="the PNG file")
    parser.add_argument("--work", type=Path, default=Path("runs/front-page"), help="folder for runs and images")
    parser.add_argument("--images", type=int, default=768, help="drawn and measured per row (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for both trainings")
    options = parser.parse_args()
    work, started = options.work, time.perf_counter()
    work.mkdir(parents=True, exist_ok=True)
    ddpo, dag_db = work / "ddpo", work / "dag-db"
    trained(HERE / "ddpo.toml", ddpo, options.set)
    trained(HERE / "dag_db.toml", dag_db, options.set)
    rewards = {run.name: held_out(run) for run in (ddpo, dag_db)}
    last = max(rewards["dag-db"])
    equal = min(rewards["ddpo"], key=lambda epoch: abs(rewards["ddpo"][epoch] - rewards["dag-db"][last]))
    rows = []
    for name, run, epoch in (("base model", dag_db, None), ("DDPO", ddpo, equal), ("DAG-DB", dag_db, last)):
        which = ["--base"] if epoch is None else ["--epoch", str(epoch)]
        pictures = sampled(run, work / f"{name.lower().replace(' ', '-')}-images", options.images, 0, *which)
        rows.append((measured(name, epoch, pictures), pictures))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    drawn(rows, options.images).save(options.output)
    metrics = {"rows": [asdict(row) for row, _ in rows], "held_out": rewards, "seconds": time.perf_counter() - started}
    options.output.with_suffix(".json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    for row, _ in rows:
        print(row.label, row)


if __name__ == "__main__":
    main()
