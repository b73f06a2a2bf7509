"""What a prompt set is: a sequence of prompts that never changes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import field, frozen


def _read_only(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(metadata))


@frozen
class Prompt:
    """One prompt.

    text: may be empty, for an unconditional sample.
    metadata: facts for rewards, such as a question and its answer; plain JSON values, read-only.
    """

    text: str
    metadata: Mapping[str, Any] = field(factory=dict, converter=_read_only, hash=False)

    def __reduce__(self) -> tuple[type[Prompt], tuple[str, dict[str, Any]]]:
        """For pickle, which takes no read-only mapping: the prompts of several processes are gathered."""
        return Prompt, (self.text, dict(self.metadata))


PromptSet = Sequence[Prompt]
"""It never changes: index i always gives the same prompt. The engine draws from it (`dagsdk.prompts.sampling`)."""
