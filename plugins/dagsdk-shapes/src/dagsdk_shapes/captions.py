"""Captions: written from attributes, and read back into attributes."""

from __future__ import annotations

import re
from typing import Final

from dagsdk_shapes.attributes import COLOURS, SHAPES, SIZES, Attributes

WORDS: Final = ("a", "an", "on", "shape", "background", *SIZES, *COLOURS, *SHAPES)
"""All words of captions; the tokenizer has one token for each."""

_COLOUR = "|".join(COLOURS)
_BACKGROUND = re.compile(rf"\bon (?:an? |the )?({_COLOUR})\b|\b({_COLOUR})[ -]background\b")
_WORD = re.compile(r"[a-z]+")


def write(attributes: Attributes) -> str:
    """The caption that names these attributes and no others: "a small red star on a blue background"."""
    noun = " ".join(filter(None, (attributes.size, attributes.colour, attributes.shape or "shape")))
    caption = _with_article(noun)
    if attributes.background is not None:
        caption += f" on {_with_article(attributes.background)} background"
    return caption


def read(text: str) -> Attributes:
    """The attributes that a caption names, also in a user's own words ("RED star, blue background").

    A colour after "on" or before "background" is the background's; the first other colour is the
    shape's. Of several shapes or sizes the first one counts. Other words are ignored.
    """
    text = " ".join(text.lower().split())
    background = None
    if match := _BACKGROUND.search(text):
        background = match[1] or match[2]
        text = text[: match.start()] + " " + text[match.end() :]
    words = _WORD.findall(text)
    return Attributes(
        shape=next((word for word in words if word in SHAPES), None),
        colour=next((word for word in words if word in COLOURS), None),
        background=background,
        size=next((word for word in words if word in SIZES), None),
    )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
