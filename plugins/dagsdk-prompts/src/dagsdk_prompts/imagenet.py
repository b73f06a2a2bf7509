"""The names of ImageNet's 1000 classes, which open_clip carries."""

from __future__ import annotations

from open_clip import IMAGENET_CLASSNAMES

from dagsdk import Prompt

ANIMALS = range(398)
DOGS = range(151, 269)
EVERYTHING = range(1000)


def names(template: str, classes: range) -> tuple[Prompt, ...]:
    """One prompt a class, with its index as metadata."""
    return tuple(Prompt(template.replace("{name}", IMAGENET_CLASSNAMES[i]), {"class": i}) for i in classes)
