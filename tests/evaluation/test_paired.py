"""Means, standard errors and paired gains by hand, and which prompts an evaluation has."""

from __future__ import annotations

import math

import pytest

from dagsdk.evaluation.held_out import fixed_prompts
from dagsdk.evaluation.paired import mean_and_error, paired_gain
from dagsdk.prompts.protocol import Prompt


def test_mean_and_standard_error_by_hand() -> None:
    assert mean_and_error([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3.0, math.sqrt((4 + 1 + 0 + 9) / 3 / 4)))
    assert mean_and_error([5.0]) == (5.0, 0.0)


def test_a_paired_gain_does_not_see_what_the_images_differ_in() -> None:
    before = [0.0, 10.0, 20.0, 30.0]
    after = [1.0, 11.5, 20.5, 31.0]
    gain, error = paired_gain(before, after)
    assert gain == pytest.approx(1.0)
    assert error == pytest.approx(math.sqrt((0 + 0.25 + 0.25 + 0) / 3 / 4))
    with pytest.raises(ValueError, match="shorter"):
        paired_gain(before, after[:-1])


def test_prompts_are_repeated_in_order() -> None:
    prompts = (Prompt("a"), Prompt("b"))
    assert [p.text for p in fixed_prompts(prompts, 5)] == ["a", "b", "a", "b", "a"]
