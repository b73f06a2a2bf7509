from __future__ import annotations

import pytest

from dagsdk_vqa.answers import NUMBERS, begins, normalise, start


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("Yes", "yes"),
        (" yes.\n", "Yes"),
        ("YES!", "yes"),
        ("three", "3"),
        ("Three.", "three"),
        ("3", "Three"),
        ("twenty", "20"),
        ("a cat", "cat"),
        ("The cat.", "a CAT"),
        ("two dogs", "2 dogs"),
        ("1,000", "1000"),
        ("T-shirt", "t shirt"),
        ("B.", "b"),
        ("A", "a"),
        ("(A)", "A"),
        ("ＹＥＳ", "yes"),
        ("Straße", "STRASSE"),
        ("北京。", "北京"),
    ],
)
def test_answers_that_say_the_same(said: str, right: str) -> None:
    assert normalise(said) == normalise(right)


@pytest.mark.parametrize(
    ("said", "right"),
    [("yes", "no"), ("yes it is", "yes"), ("three", "2"), ("13", "3"), ("cats", "cat"), ("A", "B"), ("100", "1 00")],
)
def test_answers_that_do_not(said: str, right: str) -> None:
    assert normalise(said) != normalise(right)


@pytest.mark.parametrize("empty", ["", " ", "?!", "_"])
def test_nothing_is_left_without_a_letter_or_digit(empty: str) -> None:
    assert normalise(empty) == ""


def test_numbers_are_the_same_in_words_and_digits() -> None:
    assert [normalise(word) for word in NUMBERS] == [str(number) for number in range(21)]


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ("yes", " Yes"),
        ("Yes", "yes"),
        ("3", " three"),
        ("three", "3"),
        ("three", "Th"),
        ("12", "1"),
        ("bicycle", " Bi"),
        ("blue car", "blue"),
        ("the blue car", "blue"),
        ("A", " A"),
    ],
)
def test_a_token_that_begins_an_answer(answer: str, token: str) -> None:
    assert begins(answer, start(token))


@pytest.mark.parametrize(
    ("answer", "token"),
    [("yes", "No"), ("yes", "yesterday"), ("apple", "A"), ("apple", ""), ("apple", " \n"), ("apple", "."), ("no", "y"),
     ("A", "B"), ("3", "13"), ("the cat", "the")],
)  # fmt: skip
def test_a_token_that_does_not(answer: str, token: str) -> None:
    assert not begins(answer, start(token))
