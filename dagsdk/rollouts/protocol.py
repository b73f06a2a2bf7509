"""What a rollout is: where trajectories branch, which steps are trained, which trajectories are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor

    from dagsdk.objectives.protocol import Signals
    from dagsdk.objectives.trajectories import Trajectories


@frozen(kw_only=True)
class RolloutPlan:
    """How one epoch samples and trains, for trajectories of T transitions k = 0..T-1 from noise to image.

    images_per_prompt: trajectories per prompt, each from noise of its own.
    branches: copies that each of those is split into at `branch_step`; each continues with noise of its own.
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

    A rollout that remembers something from epoch to epoch also has `state_dict` and `load_state_dict`, as an objective
    has; a checkpoint then holds its state. When a run is resumed, `plan` is called again for the next epoch, `select`
    is not called for past ones.
    """

    def plan(self, epoch: int, epochs: int, num_steps: int, /) -> RolloutPlan:
        """Once per epoch. epoch: e, counted from 0. epochs: E. num_steps: T."""

    def select(self, trajectories: Trajectories, signals: Signals, /) -> Tensor:
        """Which trajectories are trained on: shape (b,), bool."""
