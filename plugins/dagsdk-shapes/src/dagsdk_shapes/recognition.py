"""Recognises the attributes of pictures by measurement: no network, no training, no randomness.

The background is the palette colour of most border pixels. The shape's colour is the one for which "background,
colour, and a few mixed pixels in between" explains the picture best. This gives a mask, whose moments give centre, area
and, for each of the six shapes, the rotation. Each shape is then drawn there by the plugin's own drawing code, and the
drawing that overlaps the mask best is the shape.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from dagsdk_shapes.attributes import IMAGE_SIZE, SHAPES
from dagsdk_shapes.drawing import RADII, UNIT_AREAS, coverage, palette

UNRECOGNISED: Final = -1

COLOUR_TOLERANCE: Final = 0.18
"""Largest RGB distance at which a colour is recognised: half the distance of yellow and orange, the closest two."""

LEAST_BORDER: Final = 0.6
"""Share of border pixels that must have the background's colour."""

LEAST_OVERLAP: Final = 0.75
"""Smallest intersection over union of mask and drawing at which a shape is recognised."""

LEAST_AREA: Final = 20.0
"""Smallest number of pixels of a shape; the smallest shape that is drawn has 59."""

LEAST_CORE: Final = 6
"""Smallest number of pixels without background at which a shape's colour is recognised."""

_SIZE_LIMIT = (RADII[0][1] + RADII[1][0]) / 2
# Order of each shape's rotational symmetry, and whether its corners lie on its axes (+1) or between them (-1).
_SYMMETRY = {
    "circle": (4, 1),
    "square": (4, -1),
    "triangle": (3, 1),
    "star": (5, 1),
    "ring": (4, 1),
    "cross": (4, 1),
}


@torch.no_grad()
def recognise(images: Tensor) -> Tensor:
    """Codes of the attributes, in the order of `ATTRIBUTES`, or -1 where not recognised: shape (b, 4), int64.

    Size is recognised together with the shape, colour and background each separately. Row i depends only on
    image i. Pictures of other sizes are first resized to 32x32 by averaging or repeating pixels.

    images: shape (b, 3, h, w), floating point in [0, 1]
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; they must be floating point in "
            "[0, 1] of shape (b, 3, h, w)"
        )
    images = images.float().clamp(0, 1)
    if images.shape[2:] != (IMAGE_SIZE, IMAGE_SIZE):
        images = interpolate(images, (IMAGE_SIZE, IMAGE_SIZE), mode="area")
    colours = palette().to(images.device)
    pixels = images.flatten(2).transpose(1, 2)  # (b, 1024, 3)

    background, has_background = _background(images, colours)
    colour, mask = _foreground(pixels, colours, background)
    area = mask.sum(1)
    has_area = area >= LEAST_AREA
    core = (mask > 0.9).float()  # edges are mixed with the background
    away = pixels - colours[colour][:, None]
    count = core.sum(1).clamp(min=1)
    bias = (away * core[:, :, None]).sum(1).div(count[:, None]).square().sum(1).sqrt()
    spread = (away.square().sum(2) * core).sum(1).div(count).sqrt()
    has_core = core.sum(1) >= LEAST_CORE
    has_colour = has_core & (bias <= COLOUR_TOLERANCE) & (spread <= 2 * COLOUR_TOLERANCE)

    shape, size, overlap = _shape(mask.unflatten(1, (IMAGE_SIZE, IMAGE_SIZE)), area)
    has_shape = has_area & (overlap >= LEAST_OVERLAP)
    codes = torch.stack([shape, colour, background, size], dim=1)
    known = torch.stack([has_shape, has_colour, has_background, has_shape], dim=1)
    return codes.masked_fill(~known, UNRECOGNISED)


def _background(images: Tensor, colours: Tensor) -> tuple[Tensor, Tensor]:
    """Colour code of the border, and whether enough of the border has it: both of shape (b,)."""
    border = torch.cat([images[:, :, 0], images[:, :, -1], images[:, :, 1:-1, 0], images[:, :, 1:-1, -1]], dim=2)
    away = (border.transpose(1, 2)[:, :, None] - colours).square().sum(3)  # (b, 124, 8)
    nearest = away.min(dim=2)
    colour = one_hot(nearest.indices, len(colours)).sum(1).argmax(1)
    has_it = (nearest.indices == colour[:, None]) & (nearest.values <= COLOUR_TOLERANCE**2)
    return colour, has_it.float().mean(1) >= LEAST_BORDER


def _foreground(pixels: Tensor, colours: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
    """Colour code of the shape, shape (b,), and its mask in [0, 1], shape (b, 1024)."""
    base = colours[background]  # (b, 3)
    direction = colours - base[:, None]  # (b, 8, 3)
    length2 = direction.square().sum(2)  # (b, 8), 0 for the background itself
    shifted = pixels - base[:, None]  # (b, 1024, 3)
    along = sum(shifted[:, None, :, c] * direction[:, :, None, c] for c in range(3))
    share = (along / length2.clamp(min=1e-6)[:, :, None]).clamp(0, 1)  # (b, 8, 1024)
    # |s - share d|^2 minus |s|^2, which is the same for all candidates. Mixed pixels have a cost, or yellow
    # on red would explain orange.
    misfit = share * (share * length2[:, :, None] - 2 * along) + 0.5 * share * (1 - share) * length2[:, :, None]
    cost = misfit.sum(2)
    cost.scatter_(1, background[:, None], torch.inf)
    colour = cost.argmin(1)
    mask = share[torch.arange(len(share), device=share.device), colour]
    return colour, ((mask - 0.1) / 0.8).clamp(0, 1)  # slight unevenness of the background is not part of the shape


def _shape(mask: Tensor, area: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Codes of shape and size, and the overlap with the shape as drawn: each of shape (b,)."""
    count, kinds = len(mask), len(SHAPES)
    weight = area.clamp(min=1e-6)
    grid = torch.arange(IMAGE_SIZE, device=mask.device) + 0.5
    x = (mask.sum(1) * grid).sum(1) / weight
    y = (mask.sum(2) * grid).sum(1) / weight
    place = torch.complex(*torch.broadcast_tensors(grid - x[:, None, None], grid[:, None] - y[:, None, None]))
    # The sum of mask z^k turns by k times the rotation, so its phase gives that of a k-fold symmetric shape.
    cube = mask * place * place * place
    moments = {3: cube.sum((1, 2)), 4: (cube * place).sum((1, 2)), 5: (cube * place * place).sum((1, 2))}
    angle = torch.stack([(sign * moments[k]).angle() / k for k, sign in map(_SYMMETRY.__getitem__, SHAPES)], dim=1)
    radius = (weight[:, None] / torch.tensor(UNIT_AREAS, device=mask.device)).sqrt()

    centre = torch.stack([x, y], dim=1)[:, None].expand(-1, kinds, -1)
    codes = torch.arange(kinds, device=mask.device).repeat(count)
    drawn = coverage(codes, centre.flatten(0, 1), radius.flatten(), angle.flatten()).unflatten(0, (count, kinds))
    both = torch.minimum(drawn, mask[:, None]).sum((2, 3))
    overlap = both / (drawn.sum((2, 3)) + area[:, None] - both).clamp(min=1e-6)
    best = overlap.max(dim=1)
    size = (radius.gather(1, best.indices[:, None])[:, 0] > _SIZE_LIMIT).long()
    return best.indices, size, best.values
