"""Options of `b2`. No torch here."""

from __future__ import annotations

from typing import Any, Literal

from attrs import field, frozen
from attrs.validators import ge, instance_of


@frozen(kw_only=True)
class B2Options:
    """Options of `b2` (arXiv 2503.11240).

    first: L, how many of the last steps the first stage trains.
    last: R, how many of them the last stage trains; 0 means all.
    stages: S; a stage is an epoch, and later epochs are like the last stage; 0 means one stage per epoch of the run.
    progressive: whether the window grows; otherwise every stage has the window of the last.
    branches: copies of the state at the window's first step that continue with noise of their own; 1 means none.
    images_per_prompt: trajectories per prompt, each of which branches.
    group: which rewards an advantage is relative to: "branch" is those of the siblings, "prompt-history" all rewards of
        the prompt in this stage and those before.
    history: how many stages before this one the prompt-history has.
    keep_above: the best of the siblings is kept if its advantage is at least this, the worst if below minus this.
    """

    first: int = field(default=14, validator=[instance_of(int), ge(1)])
    last: int = field(default=0, validator=[instance_of(int), ge(0)])
    stages: int = field(default=0, validator=[instance_of(int), ge(0)])
    progressive: bool = True
    branches: int = field(default=5, validator=[instance_of(int), ge(1)])
    images_per_prompt: int = field(default=1, validator=[instance_of(int), ge(1)])
    group: Literal["branch", "prompt-history"] = field(default="branch")
    history: int = field(default=8, validator=[instance_of(int), ge(0)])
    keep_above: float = field(default=0.5, validator=ge(0))

    @last.validator
    def _not_below_first(self, attribute: Any, value: int) -> None:
        if 0 < value < self.first:
            raise ValueError(f"'last' must be 0 or >= first = {self.first}: {value}")

    @group.validator
    def _has_siblings(self, attribute: Any, value: str) -> None:
        if value == "branch" and self.branches < 2:
            raise ValueError(
                '\'group\' must be "prompt-history" where branches = 1, since "branch" compares siblings: branch'
            )
