from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dagsdk.prompts.mixture import PromptMixture
from dagsdk.prompts.protocol import Prompt


def named(name: str, count: int) -> list[Prompt]:
    return [Prompt(f"{name}{i}") for i in range(count)]


def test_shares_are_the_weights_and_every_prompt_comes() -> None:
    mixture = PromptMixture([(3.0, named("a", 5)), (1.0, named("b", 2))])
    texts = [prompt.text for prompt in mixture]
    assert len(texts) == len(mixture) == 8
    assert Counter(text[0] for text in texts) == {"a": 6, "b": 2}
    assert {*texts} == {*(p.text for p in named("a", 5)), *(p.text for p in named("b", 2))}
    # evenly spread: never two of the rarer in a row
    assert "bb" not in "".join(text[0] for text in texts)
    assert [text for text in texts if text[0] == "a"] == ["a0", "a1", "a2", "a3", "a4", "a0"]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.integers(1, 50)), min_size=1, max_size=4))
def test_any_weights(sets: list[tuple[float, int]]) -> None:
    mixture = PromptMixture([(weight, named("abcd"[i], n)) for i, (weight, n) in enumerate(sets)])
    total = sum(weight for weight, _ in sets)
    counts = Counter(mixture[i].text[0] for i in range(len(mixture)))
    for i, (weight, n) in enumerate(sets):
        share = counts["abcd"[i]] / len(mixture)
        assert share == pytest.approx(weight / total, abs=0.004)
        assert counts["abcd"[i]] >= n


def test_it_is_a_sequence_and_copies_nothing() -> None:
    mixture = PromptMixture([(1.0, range_prompts := named("a", 3)), (1.0, named("b", 3))])
    assert mixture[0] is range_prompts[0]
    assert mixture[-1] == mixture[len(mixture) - 1]
    assert [p.text for p in mixture[:2]] == [mixture[0].text, mixture[1].text]
    with pytest.raises(IndexError):
        mixture[len(mixture)]


def test_a_set_of_millions_is_no_work() -> None:
    class Large:
        def __len__(self) -> int:
            return 50_000_000

        def __getitem__(self, index: int) -> Prompt:
            if index >= len(self):
                raise IndexError
            return Prompt(str(index))

    mixture = PromptMixture([(9.0, Large()), (1.0, named("b", 1))])  # type: ignore[list-item]
    assert len(mixture) >= 50_000_000
    assert mixture[len(mixture) - 1].text


@pytest.mark.parametrize(("weight", "count"), [(0.0, 1), (-1.0, 1), (float("nan"), 1), (1.0, 0)])
def test_weights_are_positive_and_sets_not_empty(weight: float, count: int) -> None:
    with pytest.raises(ValueError, match="both must be > 0"):
        PromptMixture([(weight, named("a", count))])
