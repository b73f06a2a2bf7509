"""How much of an epoch's work is done."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a stage ("sampling", "update", "evaluation"), how much of it is done, and of how much."""


class Counter:
    """Counts a stage's work and reports it; `report` may be set at any time."""

    def __init__(self, report: Progress) -> None:
        self.report = report
        self._stage, self._done, self._total = "", 0, 0

    def begin(self, stage: str, total: int) -> None:
        self._stage, self._done, self._total = stage, 0, total

    def add(self, done: int) -> None:
        self._done += done
        self.report(self._stage, self._done, self._total)

    def forward(self, stage: str, done: int, total: int) -> None:
        """Reports what somebody else has counted."""
        self.report(stage, done, total)
