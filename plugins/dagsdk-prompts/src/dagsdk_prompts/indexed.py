"""Prompts that are made on demand, so that millions of them take no memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from dagsdk import Prompt


class Indexed(Sequence[Prompt]):
    """A sequence whose items are made by `at`, for an index from 0 to its length - 1."""

    @abstractmethod
    def at(self, index: int) -> Prompt: ...

    @overload
    def __getitem__(self, index: int) -> Prompt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Prompt]: ...

    def __getitem__(self, index: int | slice) -> Prompt | Sequence[Prompt]:
        place = range(len(self))[index]
        return [self.at(i) for i in place] if isinstance(place, range) else self.at(place)
