"""Prompts as BERT's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from tokenizers.models import WordPiece
from torch import Tensor

from dagsdk.errors import RewardError
from dagsdk_imagereward.sizes import TOKENS

ADDED = ("[DEC]", "[ENC]")
"""BLIP's own tokens, numbered after those of BERT. ImageReward reserves them, and uses neither."""


class Tokens:
    """Texts → ids and mask, shape (b, 35) and int64 each: lower-case WordPiece between [CLS] and [SEP], padded by 0.

    Raises RewardError for a vocabulary that cannot be read, or has another number of tokens than `vocab_size`.
    """

    def __init__(self, vocabulary: Path, vocab_size: int) -> None:
        try:
            tokenizer = BertWordPieceTokenizer(WordPiece.read_file(str(vocabulary)), lowercase=True)
        except Exception as error:  # a bare Exception or TypeError, from Rust or from a missing special token
            raise RewardError(
                f"reward 'imagereward': the vocabulary {str(vocabulary)!r} cannot be read ({error}); it must be the "
                "vocab.txt of a BERT, one token per line, with [UNK], [CLS] and [SEP]"
            ) from error
        tokenizer.add_special_tokens([*ADDED])
        if tokenizer.get_vocab_size() != vocab_size:
            raise RewardError(
                f"reward 'imagereward': the vocabulary {str(vocabulary)!r} has {tokenizer.get_vocab_size()} tokens "
                f"with {' and '.join(ADDED)}, and the text encoder {vocab_size}; give the vocab.txt of "
                "bert-base-uncased, or in `config` the vocab_size of your model"
            )
        tokenizer.enable_truncation(TOKENS)
        tokenizer.enable_padding(length=TOKENS)
        self._tokenizer = tokenizer
        self._cached = lru_cache(maxsize=65536)(self._encode)  # the same prompts come every epoch

    def _encode(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        encoded = self._tokenizer.encode(text)
        return tuple(encoded.ids), tuple(encoded.attention_mask)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        both = torch.tensor([self._cached(text) for text in texts], dtype=torch.int64).reshape(-1, 2, TOKENS)
        return both[:, 0], both[:, 1]
