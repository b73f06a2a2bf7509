"""What a rollout is: where trajectories branch, which steps are trained, which trajectories are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

from dagsdk.objectives.protocol import Signals, Trajectories

if TYPE_CHECKING:
    from torch import Tensor


@frozen(kw_only=True)
class RolloutPlan:
    """How one epoch samples and trains, for trajectories of T transitions k = 0..T-1 from noise to image.

    images_per_prompt: trajectories a prompt gets, each from noise of its own.
    branches: copies that each of those is split into at `branch_step`; they go on with noise of their own.
    branch_step: 0..T-1, the first step that the branches take apart.
    window: (first, end), the steps k in [first, end) that are trained.
    """

    images_per_prompt: int = 1
    branches: int = 1
    branch_step: int = 0
    window: tuple[int, int]


@runtime_checkable
class Rollout(Protocol):
    """Plans an epoch's sampling and selects what is trained on.

    One that remembers something from epoch to epoch also has `state_dict` and `load_state_dict`, as an objective has:
    a checkpoint then holds it. `plan` is called again for the epoch that a run goes on with, `select` is not.
    """

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan: ...

    def select(self, trajectories: Trajectories, signals: Signals, /) -> Tensor:
        """Which trajectories are trained on: shape (b,), bool."""
