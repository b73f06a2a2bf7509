"""The names of ImageNet's 1000 classes, as open_clip has them."""

from __future__ import annotations

from open_clip import IMAGENET_CLASSNAMES

from dagsdk import Prompt
from dagsdk_prompts.options import ImagenetOptions

Prompts = tuple[Prompt, ...]

ANIMALS = range(398)
DOGS = range(151, 269)
EVERYTHING = range(1000)


def everything(options: ImagenetOptions) -> Prompts:
    return _names(options.template, EVERYTHING)


def animals(options: ImagenetOptions) -> Prompts:
    return _names(options.template, ANIMALS)


def dogs(options: ImagenetOptions) -> Prompts:
    return _names(options.template, DOGS)


def _names(template: str, classes: range) -> Prompts:
    """One prompt per class, with the index of the class as metadata."""
    return tuple(Prompt(template.replace("{name}", IMAGENET_CLASSNAMES[i]), {"class": i}) for i in classes)
