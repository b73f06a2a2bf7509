"""Prompts become the tokens of transformers' BERT tokenizer with two added tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertTokenizerFast

from dagsdk.errors import RewardError
from dagsdk_imagereward.sizes import read_sizes
from dagsdk_imagereward.tokens import Tokens

TEXTS = ["A red CATS!", "", "é, Ünïcode 漢字", "dog " * 50, "abc [ENC] [DEC] [SEP] cat", "  tabs\tand\nlines ", "🙂"]


@pytest.fixture
def tokens(small: Any) -> Tokens:
    return Tokens(small.folder / "vocab.txt", read_sizes(small.options["config"]).text.vocab_size)


def test_words_by_hand(small: Any, tokens: Tokens) -> None:
    words = (small.folder / "vocab.txt").read_text().split("\n")
    ids, mask = tokens(["A red CATS!"])
    expected = [words.index(word) for word in ("[CLS]", "a", "red", "cat", "##s", "!", "[SEP]")]
    assert ids.tolist() == [expected + [0] * 28]
    assert mask.tolist() == [[1] * 7 + [0] * 28]
    assert ids.dtype == mask.dtype == torch.int64


def test_they_are_those_of_transformers(small: Any, tokens: Tokens) -> None:
    theirs = BertTokenizerFast.from_pretrained(str(small.folder))
    assert theirs.add_tokens(["[DEC]", "[ENC]"], special_tokens=True) == 2
    expected = theirs(TEXTS, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    ids, mask = tokens(TEXTS)
    assert ids.shape == (len(TEXTS), 35)
    assert torch.equal(ids, expected["input_ids"]) and torch.equal(mask, expected["attention_mask"])


def test_long_prompts_are_cut_and_still_end(small: Any, tokens: Tokens) -> None:
    words = (small.folder / "vocab.txt").read_text().split("\n")
    ids, mask = tokens(["dog " * 50])
    assert ids[0].tolist() == [words.index("[CLS]"), *[words.index("dog")] * 33, words.index("[SEP]")]
    assert mask.all()


def test_a_prompt_is_encoded_once(tokens: Tokens) -> None:
    tokens(["a red cat", "a dog"])
    tokens(["a dog", "a dog", "a red cat"])
    assert tokens._cached.cache_info().misses == 2


def test_no_prompts(tokens: Tokens) -> None:
    assert [part.shape for part in tokens([])] == [(0, 35), (0, 35)]


def test_a_vocabulary_of_another_size_is_refused(small: Any) -> None:
    with pytest.raises(RewardError, match=r"tokens with \[DEC\] and \[ENC\], and the text encoder 30524; give the"):
        Tokens(small.folder / "vocab.txt", 30524)


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("one\ntwo\n")
    with pytest.raises(RewardError, match=r"cannot be read .*must be the vocab.txt of a BERT"):
        Tokens(tmp_path / "vocab.txt", 4)
