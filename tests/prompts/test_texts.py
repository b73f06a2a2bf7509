from __future__ import annotations

import pytest

from dagsdk.prompts.texts import TextsOptions, build
from dagsdk.specs import BuildContext


def test_texts_are_prompts_in_their_order() -> None:
    prompts = build(TextsOptions(texts=("a cat", "", "a cat")), BuildContext())
    assert [prompt.text for prompt in prompts] == ["a cat", "", "a cat"]


def test_there_must_be_a_text() -> None:
    with pytest.raises(ValueError, match="texts"):
        TextsOptions(texts=())
