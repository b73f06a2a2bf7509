from __future__ import annotations

from typing import Any

import pytest

from dagsdk import RolloutPlan
from dagsdk_b2.options import B2Options
from dagsdk_b2.rollout import B2, trained_steps


@pytest.mark.parametrize(
    ("stage", "steps"),
    # 14 + ⌊7 i / 100⌋ by hand: 0, 0.98, 1.05, 1.96, 2.03, 6.93
    [(0, 14), (14, 14), (15, 15), (28, 15), (29, 16), (99, 20), (100, 20), (1000, 20)],
)
def test_the_papers_window(stage: int, steps: int) -> None:
    assert trained_steps(stage, 100, 14, 20, 20) == steps
    plan = B2(B2Options(stages=100)).plan(stage, 2000, 20)
    assert plan == RolloutPlan(branches=5, branch_step=20 - steps, window=(20 - steps, 20))


def test_each_length_has_about_as_many_stages() -> None:
    lengths = [trained_steps(i, 100, 14, 20, 20) for i in range(100)]
    assert lengths == sorted(lengths)
    assert [lengths.count(n) for n in range(14, 21)] == [15, 14, 14, 15, 14, 14, 14]


def test_stages_are_the_runs_epochs_if_none_are_given() -> None:
    for epochs in (1, 7, 100):
        for epoch in (0, epochs // 2, epochs - 1):
            plan = B2().plan(epoch, epochs, 20)
            assert plan == B2(B2Options(stages=epochs)).plan(epoch, 2 * epochs, 20)
    assert B2().plan(6, 7, 20).window == (0, 20)


@pytest.mark.parametrize("num_steps", [1, 2, 5, 13, 14, 20, 50])
@pytest.mark.parametrize(("first", "last"), [(14, 20), (14, 0), (1, 1), (3, 8), (60, 0)])
@pytest.mark.parametrize("stages", [1, 3, 100])
def test_the_window_is_never_empty_nor_longer_than_the_trajectory(
    num_steps: int, first: int, last: int, stages: int
) -> None:
    lengths = [trained_steps(i, stages, first, last, num_steps) for i in range(stages + 2)]
    assert lengths == sorted(lengths)
    assert lengths[0] == min(first, num_steps)
    final = min(last or num_steps, num_steps)
    assert lengths[-1] <= final
    if stages > final - lengths[0]:
        assert lengths[-1] == final


def test_all_steps_are_reached_with_last_0() -> None:
    assert B2(B2Options(first=35, last=0)).plan(0, 100, 50).window == (15, 50)
    assert B2(B2Options(first=35, last=0)).plan(99, 100, 50).window == (0, 50)
    assert B2(B2Options(last=20)).plan(99, 100, 50).window == (30, 50)


@pytest.mark.parametrize(("last", "window"), [(15, (5, 20)), (0, (0, 20))])
def test_without_progress_the_window_is_the_last_stages(last: int, window: tuple[int, int]) -> None:
    rollout = B2(B2Options(first=3, last=last, progressive=False))
    for epochs in (1, 4, 100):
        assert {rollout.plan(epoch, epochs, 20).window for epoch in range(epochs)} == {window}


def test_without_branches_there_is_no_branch_step() -> None:
    plan = B2(B2Options(branches=1, images_per_prompt=3, group="prompt-history")).plan(0, 10, 20)
    assert plan == RolloutPlan(images_per_prompt=3, window=(6, 20))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"first": 0}, "first"),
        ({"first": 5, "last": 4}, "'last' must be 0 or >= first = 5: 4"),
        ({"last": -1}, "last"),
        ({"stages": -1}, "stages"),
        ({"branches": 0}, "branches"),
        ({"branches": 1}, "'group' must be \"prompt-history\" where branches = 1"),
        ({"images_per_prompt": 0}, "images_per_prompt"),
        ({"history": -1}, "history"),
        ({"keep_above": -0.1}, "keep_above"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        B2Options(**options)
