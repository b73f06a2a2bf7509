"""Drawing pictures: signed distances to six outlines, anti-aliased, in batches.

A *scene* is a row of four codes, in the order of `ATTRIBUTES`: shape, colour, background, size.
Lengths are in pixels; the pixel in row i and column j has its centre at (j + 0.5, i + 0.5).
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from dagsdk_shapes.attributes import COLOURS, HELD_OUT, IMAGE_SIZE, PALETTE, SHAPES, SIZES, Attributes

RADII: Final = ((5.4, 6.4), (9.4, 10.8))
"""Range of the nominal radius of a small and of a large shape."""

# In units of the nominal radius: sizes chosen so that the six shapes look equally large.
_SQUARE_HALF = 0.886
_TRIANGLE_APEX = 1.25
_STAR_TIP, _STAR_NOTCH = 1.25, 0.56
_RING_OUTER, _RING_INNER = 1.04, 0.52
_CROSS_ARM, _CROSS_HALF = 1.10, 0.36

_EXTENT = {
    "circle": 1.0,
    "square": _SQUARE_HALF * math.sqrt(2),
    "triangle": _TRIANGLE_APEX,
    "star": _STAR_TIP,
    "ring": _RING_OUTER,
    "cross": math.hypot(_CROSS_ARM, _CROSS_HALF),
}
_AREA = {
    "circle": math.pi,
    "square": 4 * _SQUARE_HALF**2,
    "triangle": 0.75 * math.sqrt(3) * _TRIANGLE_APEX**2,
    "star": 5 * _STAR_TIP * _STAR_NOTCH * math.sin(math.pi / 5),
    "ring": math.pi * (_RING_OUTER**2 - _RING_INNER**2),
    "cross": 8 * _CROSS_ARM * _CROSS_HALF - 4 * _CROSS_HALF**2,
}
_MARGIN = 1.0
_MOST_SHIFT = 4.0
_MOST_TILT = math.radians(12)
_UPRIGHT = -math.pi / 2  # an apex or tip on the +u axis then points up, as rows count downwards

UNIT_AREAS: Final = tuple(_AREA[shape] for shape in SHAPES)
"""Area of each shape at nominal radius 1."""


def palette() -> Tensor:
    """RGB of each colour code, shape (8, 3), float32 in [0, 1]."""
    return torch.tensor(list(PALETTE.values()), dtype=torch.float32)


def sample_scenes(count: int, generator: torch.Generator) -> Tensor:
    """Scenes drawn uniformly from the training compositions, shape (count, 4), int64.

    The background never equals the colour, and no (colour, shape) pair is in `HELD_OUT`.
    """
    pairs = torch.tensor(
        [
            (SHAPES.index(shape), COLOURS.index(colour))
            for shape in SHAPES
            for colour in COLOURS
            if (colour, shape) not in HELD_OUT
        ]
    )
    shape_colour = pairs[torch.randint(len(pairs), (count,), generator=generator)]
    step = torch.randint(1, len(COLOURS), (count,), generator=generator)
    background = (shape_colour[:, 1] + step) % len(COLOURS)
    size = torch.randint(len(SIZES), (count,), generator=generator)
    return torch.stack([*shape_colour.unbind(1), background, size], dim=1)


def describe(scene: Tensor) -> Attributes:
    """The four values of one scene, shape (4,); a negative code becomes None."""
    shape, colour, background, size = (int(code) for code in scene)
    return Attributes(
        shape=SHAPES[shape] if shape >= 0 else None,
        colour=COLOURS[colour] if colour >= 0 else None,
        background=COLOURS[background] if background >= 0 else None,
        size=SIZES[size] if size >= 0 else None,
    )


def draw(scenes: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of scenes, shape (n, 3, 32, 32), float32 in [0, 1].

    Position (at most 4 pixels from the middle along each axis), rotation (at most 12 degrees from upright)
    and the radius within its size are drawn from the generator. Every shape lies wholly inside the
    picture, with a margin of one pixel.

    scenes: codes, shape (n, 4), none negative.
    """
    shape, colour, background, size = scenes.unbind(1)
    low, high = torch.tensor(RADII)[size].unbind(1)
    jitter, angle, *place = torch.rand(4, len(scenes), generator=generator)
    radius = low + (high - low) * jitter
    room = IMAGE_SIZE / 2 - _MARGIN - radius * torch.tensor([_EXTENT[name] for name in SHAPES])[shape]
    room = room.clamp(max=_MOST_SHIFT)
    centre = IMAGE_SIZE / 2 + (2 * torch.stack(place, dim=1) - 1) * room[:, None]
    tilt = _UPRIGHT + _MOST_TILT * (2 * angle - 1)
    cover = coverage(shape, centre, radius, tilt)[:, None]
    colours = palette()[:, :, None, None]
    return (1 - cover) * colours[background] + cover * colours[colour]


def coverage(shape: Tensor, centre: Tensor, radius: Tensor, angle: Tensor) -> Tensor:
    """Share of each pixel that lies inside the outline, shape (n, 32, 32), float32 in [0, 1].

    shape: codes, shape (n,)
    centre: x and y of the centre, in pixels, shape (n, 2)
    radius: nominal radius in pixels, shape (n,)
    angle: rotation in radians, shape (n,)
    """
    u, v = _local_coordinates(centre, angle)
    cover = torch.empty_like(u)
    for code, outline in enumerate(_OUTLINES):
        rows = (shape == code).nonzero()[:, 0]
        # An outline at distance d from a pixel's centre covers about 1/2 - d of the pixel.
        cover[rows] = (0.5 - outline(u[rows], v[rows], radius[rows, None, None])).clamp(0, 1)
    return cover


def _local_coordinates(centre: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    grid = torch.arange(IMAGE_SIZE, dtype=torch.float32, device=centre.device) + 0.5
    x = grid[None, None, :] - centre[:, 0, None, None]
    y = grid[None, :, None] - centre[:, 1, None, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    return cos * x + sin * y, cos * y - sin * x


# Signed distances, negative inside. Outside of corners they are not exact, but coverage is 0 there anyway.


def _circle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return torch.hypot(u, v) - r


def _square(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) - _SQUARE_HALF * r


def _triangle(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    # One apex on the +u axis: sides have outward normals at 60, 180 and 300 degrees.
    slanted = 0.5 * u + math.sqrt(0.75) * v.abs()
    return torch.maximum(slanted, -u) - 0.5 * _TRIANGLE_APEX * r


def _star(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    # Fold the plane onto one half of one arm; its only edge runs from the tip to the notch.
    sector = 2 * math.pi / 5
    theta = torch.remainder(torch.atan2(v, u) + sector / 2, sector) - sector / 2
    distance = torch.hypot(u, v)
    along, across = distance * theta.cos(), distance * theta.sin().abs()
    notch_along = _STAR_NOTCH * math.cos(sector / 2)
    notch_across = _STAR_NOTCH * math.sin(sector / 2)
    edge = math.hypot(_STAR_TIP - notch_along, notch_across)
    normal = (notch_across / edge, (_STAR_TIP - notch_along) / edge)
    return normal[0] * (along - _STAR_TIP * r) + normal[1] * across


def _ring(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    middle, half = (_RING_OUTER + _RING_INNER) / 2, (_RING_OUTER - _RING_INNER) / 2
    return (torch.hypot(u, v) - middle * r).abs() - half * r


def _cross(u: Tensor, v: Tensor, r: Tensor) -> Tensor:
    u, v = u.abs(), v.abs()
    return torch.maximum(torch.maximum(u, v) - _CROSS_ARM * r, torch.minimum(u, v) - _CROSS_HALF * r)


_OUTLINES = (_circle, _square, _triangle, _star, _ring, _cross)
