"""Options of the core's rollouts. No torch here."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge


@frozen(kw_only=True)
class IndependentOptions:
    """Options of `independent`.

    images_per_prompt: trajectories per prompt and epoch, each from noise of its own.
    """

    images_per_prompt: int = field(default=1, validator=ge(1))
