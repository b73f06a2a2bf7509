"""Comparing answers, whatever their case, punctuation, articles, and numbers in words or digits."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

ARTICLES = ("a", "an", "the")
# fmt: off
NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)
# fmt: on
_DIGITS = {word: str(number) for number, word in enumerate(NUMBERS)}
_WORDS = {digits: word for word, digits in _DIGITS.items()}


def _words(text: str) -> list[str]:
    """Lower-case words, without punctuation; "1,000" is one word."""
    text = re.sub(r"(?<=\d),(?=\d{3})", "", unicodedata.normalize("NFKC", text).casefold())
    return re.findall(r"[^\W_]+", text)


def normalise(answer: str) -> str:
    """The answer as it is compared: lower case, no punctuation, no articles, zero to twenty in digits.

    An answer that is only an article, such as the choice "A", is kept. Empty if there is no letter or digit.
    """
    words = _words(answer)
    return " ".join(_DIGITS.get(word, word) for word in [w for w in words if w not in ARTICLES] or words)


def start(token: str) -> str:
    """A token's text as `begins` takes it: lower case, no punctuation."""
    return " ".join(_words(token))


def begins(answer: str, first: str) -> bool:
    """Whether the right answer, with numbers in digits or in words, can begin with this `start` of a token.

    An empty start, or an article, begins an answer only if it is all of it.
    """
    spellings = _spellings(answer)
    if first in ("", *ARTICLES):
        return first in spellings
    return any(spelling.startswith(first) for spelling in spellings)


@lru_cache
def _spellings(answer: str) -> tuple[str, str]:
    """With numbers in digits, and in words."""
    digits = normalise(answer)
    return digits, " ".join(_WORDS.get(word, word) for word in digits.split())
