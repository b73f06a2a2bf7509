"""The processes of a run: one by itself, or several that a launcher started. Nothing else knows of the others."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from attrs import evolve
from torch import Tensor

from dagsdk.objectives.trajectories import Trajectories, along

T = TypeVar("T")


class Processes:
    """A run in one process, the default; `Several` is for more.

    index, count: which process this is, and of how many.
    """

    index = 0
    count = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.index == 0

    def rows(self, mine: int) -> slice:
        """Which rows of what `gather` gives are this process's, which has `mine` of them, as every process has."""
        return slice(self.index * mine, (self.index + 1) * mine)

    def gather(self, trajectories: Trajectories) -> Trajectories:
        """The trajectories of all processes, by process, without latents."""
        found: Trajectories = along(self._gathered, evolve(trajectories, latents=None))
        return found

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows of all processes, by process; each has as many."""
        return rows

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        return value

    def objects(self, value: T) -> Sequence[T]:
        """The value of each process."""
        return [value]

    def wait(self) -> None:
        """Returns when every process is here."""

    def _gathered(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(item for part in self.objects(value) for item in part)
        return self.gather_rows(value)


class Several(Processes):
    """The processes that accelerate finds: those that torchrun or `accelerate launch` started."""

    def __init__(self) -> None:
        from accelerate import PartialState

        state = PartialState(cpu=not torch.accelerator.is_available())  # otherwise it sees one process on the CPU
        self.index, self.count = state.process_index, state.num_processes
        self.device: torch.device = state.device
        self._state = state

    def gather_rows(self, rows: Tensor) -> Tensor:
        from accelerate.utils import gather

        if not rows.numel():
            return rows.new_zeros(len(rows) * self.count, *rows.shape[1:])
        if rows.dtype == torch.bool:  # gloo takes no booleans
            return self.gather_rows(rows.byte()).bool()
        gathered: Tensor = gather(rows)
        return gathered

    def sum(self, value: Tensor) -> Tensor:
        from accelerate.utils import reduce

        total: Tensor = reduce(value, "sum")
        return total

    def objects(self, value: T) -> Sequence[T]:
        from accelerate.utils import gather_object

        gathered: Sequence[T] = gather_object([value])
        return gathered

    def wait(self) -> None:
        self._state.wait_for_everyone()


def launched() -> Processes:
    """The processes of this program: several where a launcher said so, or where torch.distributed is set up."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return Several() if several or distributed else Processes()


def default_device(processes: Processes) -> torch.device:
    """Where a model goes that is on no device yet: this process's accelerator, or the CPU."""
    if isinstance(processes, Several):
        return processes.device
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
