"""A CLIP tokenizer with one token for each caption word, and bytes for everything else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Final

from transformers import CLIPTokenizer

MAX_LENGTH: Final = 16
"""Tokens of a prompt, with its start and end; the longest caption takes ten."""

_END_OF_WORD = "</w>"
_Pair = tuple[str, str]


def build_tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """A byte-level tokenizer whose merges turn each of these lower-case words into one token."""
    vocabulary, merges = _vocabulary(words)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_LENGTH)


def save_vocabulary(words: Iterable[str], folder: Path) -> None:
    """Writes vocab.json and merges.txt, which transformers 4 reads, next to version 5's tokenizer.json."""
    vocabulary, merges = _vocabulary(words)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n", encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _vocabulary(words: Iterable[str]) -> tuple[dict[str, int], list[_Pair]]:
    symbols = _byte_symbols()
    merges = _merges(words)
    tokens = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols), *(a + b for a, b in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: code for code, token in enumerate(tokens)}, merges


def _merges(words: Iterable[str]) -> list[_Pair]:
    """Byte-pair encoding until every word is one token: the most frequent pair first, ties in alphabetical order."""
    spelled = [[*word[:-1], word[-1] + _END_OF_WORD] for word in sorted(set(words))]
    merges: list[_Pair] = []
    while counts := Counter(pair for word in spelled for pair in pairwise(word)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelled = [_merge(word, best) for word in spelled]
    return merges


def _merge(word: list[str], pair: _Pair) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def _byte_symbols() -> list[str]:
    """The printable characters that stand for the 256 bytes, as in the byte-level BPE of GPT-2."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(code) for code in printable] + [chr(256 + place) for place in range(len(others))]
