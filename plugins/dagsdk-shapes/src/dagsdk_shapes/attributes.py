"""The four attributes of a picture, their values, and the compositions left out of training."""

from __future__ import annotations

from typing import Final

from attrs import frozen

IMAGE_SIZE: Final = 32
"""Height and width of a picture, in pixels."""

SHAPES: Final = ("circle", "square", "triangle", "star", "ring", "cross")

PALETTE: Final = {
    "red": (0.85, 0.13, 0.15),
    "green": (0.13, 0.62, 0.22),
    "blue": (0.13, 0.30, 0.88),
    "yellow": (0.98, 0.88, 0.18),
    "purple": (0.58, 0.18, 0.74),
    "orange": (0.98, 0.53, 0.08),
    "white": (0.97, 0.97, 0.97),
    "black": (0.06, 0.06, 0.06),
}
"""Colour name to RGB in [0, 1], of shapes and backgrounds; a picture never has the same colour for both."""

COLOURS: Final = tuple(PALETTE)

SIZES: Final = ("small", "large")

ATTRIBUTES: Final = {"shape": SHAPES, "colour": COLOURS, "background": COLOURS, "size": SIZES}
"""Attribute name to its values. The *code* of a value is its position here."""

HELD_OUT: Final = frozenset(
    {
        ("red", "triangle"),
        ("green", "star"),
        ("blue", "ring"),
        ("yellow", "cross"),
        ("purple", "circle"),
        ("orange", "square"),
    }
)
"""(colour, shape) pairs that no training picture shows: one per shape, each with another colour."""


@frozen(kw_only=True)
class Attributes:
    """Values of the four attributes. None means not named (in a caption) or not recognised (in a picture)."""

    shape: str | None = None
    colour: str | None = None
    background: str | None = None
    size: str | None = None

    def named(self) -> dict[str, str]:
        """The attributes that have a value, in the order of `ATTRIBUTES`."""
        values = {name: getattr(self, name) for name in ATTRIBUTES}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def is_held_out(self) -> bool:
        """Whether the named colour and shape form a pair that training never showed."""
        return (self.colour, self.shape) in HELD_OUT
