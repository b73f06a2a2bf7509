"""Measures folders of pictures: how well they match their prompts, and how diverse the free attributes are.

`python -m dagsdk_shapes.measure DIR [DIR ...]` reads `samples.jsonl` in each folder, one JSON object per line:
`{"file": "00000.png", "prompt": "a star", "seed": 0}`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes.attributes import ATTRIBUTES, Attributes
from dagsdk_shapes.match import Match, named

if TYPE_CHECKING:
    from torch import Tensor


@frozen(kw_only=True)
class Measurement:
    """Measurements of a set of pictures.

    images, prompts: how many there are; prompts with the same text count once.
    match, match_error: mean of the reward `shapes-match`, and its standard error.
    full: share of pictures that have every named attribute.
    entropy: by attribute, in nats: the entropy of its values among the pictures of a prompt, averaged over the
        prompts that leave it free. Pictures in which the attribute is not recognised are left out, and so are
        attributes that no prompt leaves free.
    """

    images: int
    prompts: int
    match: float
    match_error: float
    full: float
    entropy: dict[str, float]


def attributes(images: Tensor) -> list[Attributes]:
    """The attributes of each picture, None where one is not recognised.

    images: shape (b, 3, h, w), floating point in [0, 1]
    """
    from dagsdk_shapes.drawing import describe
    from dagsdk_shapes.recognition import recognise

    return [describe(codes) for codes in recognise(images).cpu()]


def entropy(values: Iterable[str | None]) -> float:
    """Entropy of the empirical distribution of values, in nats, without those that are None; 0 without any."""
    counts = Counter(value for value in values if value is not None)
    total = sum(counts.values())
    return sum(count / total * math.log(total / count) for count in counts.values())


def measure(images: Tensor, prompts: Sequence[Prompt]) -> Measurement:
    """Measures pictures and their prompts.

    Entropies of small samples are too low: compare sets with equally many pictures per prompt.

    images: shape (b, 3, h, w), floating point in [0, 1], b at least 1
    """
    if not prompts:
        raise ValueError("there are 0 images; a measurement needs at least 1")
    rewards = Match()(images, prompts).double()
    shown: dict[str, list[Attributes]] = defaultdict(list)
    free: dict[str, list[str]] = {}
    for prompt, seen in zip(prompts, attributes(images), strict=True):
        shown[prompt.text].append(seen)
        free[prompt.text] = [name for name in ATTRIBUTES if name not in named(prompt).named()]
    entropies: dict[str, list[float]] = defaultdict(list)
    for text, pictures in shown.items():
        for name in free[text]:
            entropies[name].append(entropy(getattr(picture, name) for picture in pictures))
    return Measurement(
        images=len(prompts),
        prompts=len(shown),
        match=float(rewards.mean()),
        match_error=float(rewards.std(correction=0)) / math.sqrt(len(prompts)),
        full=float((rewards == 1).double().mean()),
        entropy={name: sum(entropies[name]) / len(entropies[name]) for name in ATTRIBUTES if name in entropies},
    )


def measure_folder(folder: Path) -> Measurement:
    """Measures the pictures listed in a folder's `samples.jsonl`. Raises ValueError if one cannot be read."""
    import numpy as np
    import torch
    from PIL import Image

    listing = folder / "samples.jsonl"
    if not listing.is_file():
        raise ValueError(f"{listing} does not exist; each folder must hold one: `dagsdk sample` writes it")
    images, prompts = [], []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), 1):
        try:
            sample = json.loads(line)
            with Image.open(folder / sample["file"]) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            prompt = Prompt(sample["prompt"], sample.get("metadata") or {})
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ValueError(
                f"{listing}, line {number}: {type(error).__name__}: {error}; a line must be a JSON object "
                "with the 'file' of a picture in the folder and its 'prompt'"
            ) from error
        images.append(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255)
        prompts.append(prompt)
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"{folder}: the pictures differ in size; they must have the same: sample them in one run")
    if not images:
        raise ValueError(f"{listing} is empty; it must list at least one picture")
    return measure(torch.stack(images), prompts)


def table(measurements: dict[str, Measurement]) -> str:
    """The measurements as a table in plain text; entropies also as a multiple of the first row's."""
    first = next(iter(measurements.values()))
    rows = [["set", "images", "prompts", "match", "full", *(f"H({name})" for name in ATTRIBUTES)]]
    for name, each in measurements.items():
        row = [name, str(each.images), str(each.prompts)]
        row += [f"{each.match:.3f} ± {each.match_error:.3f}", f"{each.full:.3f}"]
        for attribute in ATTRIBUTES:
            value, base = each.entropy.get(attribute), first.entropy.get(attribute)
            ratio = f" (x{value / base:.2f})" if value is not None and base else ""
            row.append("-" if value is None else f"{value:.3f}{ratio}")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.append("H: entropy in nats of an attribute that the prompt leaves free, averaged over such prompts")
    return "\n".join(line.rstrip() for line in lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m dagsdk_shapes.measure", description=__doc__)
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="holds samples.jsonl and its PNG files")
    parser.add_argument("--json", action="store_true", help="print one JSON object, by folder")
    options = parser.parse_args(arguments)
    try:
        measurements = {str(folder): measure_folder(folder) for folder in options.folders}
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({name: asdict(each) for name, each in measurements.items()}, indent=1))
    else:
        print(table(measurements))
    return 0


if __name__ == "__main__":
    sys.exit(main())
