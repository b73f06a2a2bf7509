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

    text: what the model is asked for; may be empty (an unconditional sample).
    metadata: facts for rewards, such as a question and its answer; plain JSON values.
    """

    text: str
    metadata: Mapping[str, Any] = field(factory=dict, converter=_read_only, hash=False)


PromptSet = Sequence[Prompt]
"""Not a random function: the engine shuffles, shards and resumes it by index (`dagsdk.prompts.sampling`)."""
