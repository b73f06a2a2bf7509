"""Which known name was meant by one that nothing has: misspelt, shortened, or a part of the whole."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

ALIKE = 0.6
"""Two names with this share of letters in common are alike."""
MISSPELT = 0.8
"""With this share one is a misspelling of the other, and no third name can be meant."""
WORD = 0.75
"""With this share one word of a name is a misspelling of another: words are short, and one letter counts for more."""


def closest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names that `name` may stand for, the likeliest first; empty where none is near.

    A misspelling stands for one name: "tarin" for "train". A shortened name stands for all that begin with it, or have
    it between hyphens or underscores: "jpeg" for "jpeg-compressibility" and "jpeg-incompressibility", "batch" for
    "sample_batch" and "micro_batch". Upper and lower case are the same.
    """
    names = list(dict.fromkeys(known))
    likeness = {other: _likeness(name, other) for other in names}
    ranked = sorted(names, key=lambda other: -likeness[other])
    if not ranked:
        return []
    best = ranked[0]
    if likeness[best] >= MISSPELT:
        return [best]
    alike = [best] if likeness[best] >= ALIKE else []
    return [*alike, *(other for other in ranked if other not in alike and _is_part(name, other))][:most]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'bf16'?``, with up to three names, or "" where none is near."""
    quoted = [repr(other) for other in closest(name, known)]
    *others, last = quoted or [""]
    return f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if quoted else ""


def _likeness(name: str, other: str) -> float:
    """Share of letters in common, in [0, 1]."""
    return SequenceMatcher(None, other.casefold(), name.casefold()).ratio()


def _is_part(name: str, other: str) -> bool:
    """Whether `name`, perhaps misspelt, begins `other` or is one of its words, or `other` begins `name`."""
    short, whole = name.casefold(), other.casefold()
    if min(len(short), len(whole)) < 3:
        return False
    if whole.startswith(short) or short.startswith(whole):
        return True
    return any(_likeness(short, word) >= WORD for word in re.split(r"[-_.]", whole))
