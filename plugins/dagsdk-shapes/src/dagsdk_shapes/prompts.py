"""The prompt sets: all captions, filtered by what they name, in a fixed shuffled order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional

from dagsdk.prompts.protocol import Prompt
from dagsdk_shapes.attributes import ATTRIBUTES, Attributes
from dagsdk_shapes.captions import write

_number = partial(field, validator=and_(ge(0), le(len(ATTRIBUTES))))


@frozen(kw_only=True)
class CaptionOptions:
    """Options of `shapes` and `shapes-held-out`.

    names_at_least, names_at_most: how many of the four attributes a caption names, 0 to 4.
    count: how many captions are kept, the first ones of the order; None keeps all.
    seed: of the order.
    """

    names_at_least: int = _number(default=1)
    names_at_most: int = _number(default=4)
    count: int | None = field(default=None, validator=optional(gt(0)))
    seed: int = 0


@frozen(kw_only=True)
class FreeCaptionOptions(CaptionOptions):
    """Options of `shapes-free`: as of `shapes`, but by default at most one attribute is named."""

    names_at_least: int = _number(default=0)
    names_at_most: int = _number(default=1)


def training_prompts(options: CaptionOptions) -> tuple[Prompt, ...]:
    """Captions without a held-out composition."""
    return _prompts((each for each in _all() if not each.is_held_out), options)


def held_out_prompts(options: CaptionOptions) -> tuple[Prompt, ...]:
    """Captions that name a held-out composition of colour and shape."""
    return _prompts((each for each in _all() if each.is_held_out), options)


def free_prompts(options: CaptionOptions) -> tuple[Prompt, ...]:
    """Training captions that leave at least one attribute free."""
    return _prompts((each for each in _all() if not each.is_held_out and len(each.named()) < len(ATTRIBUTES)), options)


def _all() -> Iterator[Attributes]:
    """All that captions can name: any of the attributes, but never the same colour for shape and background."""
    for values in product(*((None, *options) for options in ATTRIBUTES.values())):
        attributes = Attributes(**dict(zip(ATTRIBUTES, values, strict=True)))
        if attributes.colour is None or attributes.colour != attributes.background:
            yield attributes


def _prompts(choices: Iterable[Attributes], options: CaptionOptions) -> tuple[Prompt, ...]:
    fitting = [each for each in choices if options.names_at_least <= len(each.named()) <= options.names_at_most]
    # Sorting by random() keeps the order from one Python to the next, which shuffle() does not promise.
    number = random.Random(options.seed)
    fitting.sort(key=lambda each: number.random())
    return tuple(Prompt(write(each), each.named()) for each in fitting[: options.count])
