from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk import Prompt
from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Signals
from dagsdk.testing.trajectories import trajectories
from dagsdk_b2.options import B2Options
from dagsdk_b2.rollout import B2

HISTORY = B2Options(group="prompt-history", history=8)


def _seen(scores: list[list[float]], texts: str | None = None, epoch: int = 0):
    """An epoch with one row of scores a branching; texts has a letter for each branching's prompt."""
    branchings, branches = len(scores), len(scores[0])
    seen = trajectories(branchings, 1, branches, epoch=epoch, epochs=100)
    letters = texts or "abcdefgh"[:branchings]
    prompts = tuple(Prompt(letter) for letter in letters for _ in range(branches))
    return evolve(seen, scores=torch.tensor(scores).flatten(), prompts=prompts)


def _kept(rollout: B2, scores: list[list[float]], texts: str | None = None, epoch: int = 0) -> list[list[int]]:
    """The places that are kept of each branching."""
    kept = rollout.select(_seen(scores, texts, epoch), Signals()).reshape(len(scores), -1)
    return [row.nonzero().flatten().tolist() for row in kept]


def test_the_best_and_the_worst_of_each_branching_by_hand() -> None:
    scores = [
        [1.0, 2.0, 3.0, 4.0, 5.0],  # A = -1.41 .. 1.41: the first and the last
        [9.0, 9.0, 0.0, 9.0, 9.0],  # A = 0.49999999 and -2: the worst only
        [0.0, 0.0, 0.0, 0.0, 1.0],  # A = -0.49999999 and 2: the best only
        [7.0, 7.0, 7.0, 7.0, 7.0],  # nothing to choose
        [-3.0, 100.0, 50.0, -3.5, 2.0],  # the second and the fourth
    ]
    assert _kept(B2(), scores) == [[0, 4], [2], [4], [], [1, 3]]


def test_above_counts_from_and_below_counts_under_the_threshold() -> None:
    # A = ±1 but for 1e-8
    rows = [[0.0, 2.0]]
    for limit, kept in ((0.999, [0, 1]), (1.001, [])):
        assert _kept(B2(B2Options(branches=2, keep_above=limit)), rows) == [kept]
    assert _kept(B2(B2Options(branches=2, keep_above=0.0)), [[4.0, 4.0]]) == [[0]]  # 0 ≥ 0, and not 0 < -0


def test_nothing_may_be_kept_of_an_epoch() -> None:
    assert _kept(B2(B2Options(keep_above=2.5)), [[1.0, 2.0, 3.0, 4.0, 50.0]]) == [[]]
    assert _kept(B2(), [[1e9] * 5, [0.1] * 5]) == [[], []]


def test_of_five_that_differ_one_is_always_kept() -> None:
    # Σ A = 0 and Σ A² = 5, so that the largest of five is at least 0.5, and if no more, the least is -2.
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, 5, generator=generator) ** 3
    assert all(_kept(B2(), scores.tolist(), "a" * 200))


def test_siblings_are_compared_even_if_the_prompt_branches_twice() -> None:
    seen = evolve(_seen([[1.0, 2.0, 3.0], [101.0, 102.0, 103.0]], "aa"), group=torch.zeros(6, dtype=torch.int64))
    kept = B2(B2Options(branches=3)).select(seen, Signals())
    assert kept.tolist() == [True, False, True, True, False, True]
    # against all of the prompt's, the low ones are all bad and the high ones all good
    kept = B2(B2Options(branches=3, group="prompt-history")).select(seen, Signals())
    assert kept.tolist() == [True, False, False, False, False, True]


def test_the_prompts_last_scores_move_the_line() -> None:
    rollout = B2(HISTORY)
    assert _kept(rollout, [[1.0, 2.0, 3.0]], "a", epoch=0) == [[0, 2]]
    # among 1, 2, 3 the scores 4, 5, 6 have A = (r - 3.5) / 1.708 = 0.29, 0.88, 1.46: none is below -0.5
    r = np.array([1, 2, 3, 4, 5, 6])
    assert np.allclose((r[3:] - r.mean()) / r.std(), [0.293, 0.878, 1.464], atol=1e-3)
    assert _kept(rollout, [[4.0, 5.0, 6.0]], "a", epoch=1) == [[2]]
    assert _kept(rollout, [[4.0, 5.0, 6.0]], "b", epoch=1) == [[0, 2]]  # another prompt


def test_after_eight_stages_a_score_is_forgotten() -> None:
    for between, kept in ((8, [2]), (9, [0, 2])):
        rollout = B2(HISTORY)
        _kept(rollout, [[1.0, 2.0, 3.0]], "a", epoch=0)
        assert _kept(rollout, [[4.0, 5.0, 6.0]], "a", epoch=between) == [kept]
    assert rollout.state_dict() == {"scores": {"a": [[9, [4.0, 5.0, 6.0]]]}}


def test_the_papers_schedule_by_hand() -> None:
    """Windows and what is kept at stages 0, 14, 15 and 99 of L = 14, R = 20, T = 20, S = 100, with eight remembered."""
    paper = {"first": 14, "last": 20, "stages": 100, "branches": 3}
    branch, history = B2(B2Options(**paper)), B2(B2Options(**paper, group="prompt-history", history=8))
    expected = {
        # stage: steps of the window, scores, kept among siblings, kept in the prompt's history
        0: (14, [1.0, 2.0, 3.0], [0, 2], [0, 2]),
        14: (14, [4.0, 5.0, 6.0], [0, 2], [0, 2]),  # stage 0 is forgotten
        15: (15, [7.0, 8.0, 9.0], [0, 2], [2]),  # among 4 to 9, 7 has A = 0.29 and 9 has 1.46
        99: (20, [5.0, 5.0, 5.0], [], []),
    }
    for stage, (steps, scores, of_branch, of_history) in expected.items():
        for rollout, kept in ((branch, of_branch), (history, of_history)):
            plan = rollout.plan(stage, 100, 20)
            assert plan.window == (20 - steps, 20) and plan.branch_step == 20 - steps
            assert _kept(rollout, [scores], "a", epoch=stage) == [kept]


def test_resumed_it_selects_as_if_it_had_gone_on() -> None:
    going_on, restored = B2(HISTORY), B2(HISTORY)
    _kept(going_on, [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], "ab", epoch=0)
    restored.load_state_dict(json.loads(json.dumps(going_on.state_dict())))
    later = ([[4.0, 5.0, 6.0], [5.0, 4.0, 5.5]], "ab")
    assert _kept(going_on, *later, epoch=1) == _kept(restored, *later, epoch=1) == [[2], [1, 2]]
    assert _kept(B2(HISTORY), *later, epoch=1) == [[0, 2], [1, 2]]
    assert going_on.state_dict() == restored.state_dict()


def test_a_state_for_one_that_keeps_none_is_refused() -> None:
    assert B2().state_dict() == {}
    B2().load_state_dict({})
    with pytest.raises(TrainingError, match='group = "branch" has no state'):
        B2().load_state_dict({"scores": {}})
