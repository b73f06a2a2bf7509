from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk import Prompt, Signals, Trajectories
from dagsdk.errors import TrainingError
from dagsdk.testing.trajectories import trajectories
from dagsdk_b2.options import B2Options
from dagsdk_b2.rollout import B2

HISTORY = B2Options(group="prompt-history", history=8)


def sampled(rewards: list[list[float]], texts: str | None = None, epoch: int = 0) -> Trajectories:
    """An epoch with one row of rewards per set of siblings; texts has one letter per row, its prompt."""
    rows, branches = len(rewards), len(rewards[0])
    drawn = trajectories(rows, 1, branches, epoch=epoch, epochs=100)
    letters = texts or "abcdefgh"[:rows]
    prompts = tuple(Prompt(letter) for letter in letters for _ in range(branches))
    return evolve(drawn, rewards=torch.tensor(rewards).flatten(), prompts=prompts)


def kept_of(rollout: B2, rewards: list[list[float]], texts: str | None = None, epoch: int = 0) -> list[list[int]]:
    """Which siblings of each row are kept."""
    kept = rollout.select(sampled(rewards, texts, epoch), Signals()).reshape(len(rewards), -1)
    return [row.nonzero().flatten().tolist() for row in kept]


def test_the_best_and_the_worst_siblings_by_hand() -> None:
    rewards = [
        [1.0, 2.0, 3.0, 4.0, 5.0],  # A = -1.41 .. 1.41: the first and the last
        [9.0, 9.0, 0.0, 9.0, 9.0],  # A = 0.49999999 and -2: the worst only
        [0.0, 0.0, 0.0, 0.0, 1.0],  # A = -0.49999999 and 2: the best only
        [7.0, 7.0, 7.0, 7.0, 7.0],  # nothing to choose
        [-3.0, 100.0, 50.0, -3.5, 2.0],  # the second and the fourth
    ]
    assert kept_of(B2(), rewards) == [[0, 4], [2], [4], [], [1, 3]]


def test_above_counts_from_and_below_counts_under_the_threshold() -> None:
    # A = ±1 but for 1e-8
    rows = [[0.0, 2.0]]
    for limit, kept in ((0.999, [0, 1]), (1.001, [])):
        assert kept_of(B2(B2Options(branches=2, keep_above=limit)), rows) == [kept]
    assert kept_of(B2(B2Options(branches=2, keep_above=0.0)), [[4.0, 4.0]]) == [[0]]  # 0 ≥ 0, and not 0 < -0


def test_nothing_may_be_kept_of_an_epoch() -> None:
    assert kept_of(B2(B2Options(keep_above=2.5)), [[1.0, 2.0, 3.0, 4.0, 50.0]]) == [[]]
    assert kept_of(B2(), [[1e9] * 5, [0.1] * 5]) == [[], []]


def test_of_five_different_rewards_one_is_always_kept() -> None:
    # Σ A = 0 and Σ A² = 5, so that the largest of five is at least 0.5, and if no more, the least is -2.
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(200, 5, generator=generator) ** 3
    assert all(kept_of(B2(), rewards.tolist(), "a" * 200))


def test_siblings_are_compared_even_if_the_prompt_branches_twice() -> None:
    twice = evolve(sampled([[1.0, 2.0, 3.0], [101.0, 102.0, 103.0]], "aa"), group=torch.zeros(6, dtype=torch.int64))
    kept = B2(B2Options(branches=3)).select(twice, Signals())
    assert kept.tolist() == [True, False, True, True, False, True]
    # against all of the prompt's, the low ones are all bad and the high ones all good
    kept = B2(B2Options(branches=3, group="prompt-history")).select(twice, Signals())
    assert kept.tolist() == [True, False, False, False, False, True]


def test_earlier_rewards_of_the_prompt_count() -> None:
    rollout = B2(HISTORY)
    assert kept_of(rollout, [[1.0, 2.0, 3.0]], "a", epoch=0) == [[0, 2]]
    # among 1, 2, 3 the rewards 4, 5, 6 have A = (r - 3.5) / 1.708 = 0.29, 0.88, 1.46: none is below -0.5
    r = np.array([1, 2, 3, 4, 5, 6])
    assert np.allclose((r[3:] - r.mean()) / r.std(), [0.293, 0.878, 1.464], atol=1e-3)
    assert kept_of(rollout, [[4.0, 5.0, 6.0]], "a", epoch=1) == [[2]]
    assert kept_of(rollout, [[4.0, 5.0, 6.0]], "b", epoch=1) == [[0, 2]]  # another prompt


def test_after_eight_stages_a_reward_is_forgotten() -> None:
    for between, kept in ((8, [2]), (9, [0, 2])):
        rollout = B2(HISTORY)
        kept_of(rollout, [[1.0, 2.0, 3.0]], "a", epoch=0)
        assert kept_of(rollout, [[4.0, 5.0, 6.0]], "a", epoch=between) == [kept]
    assert rollout.state_dict() == {"rewards": {"a": [[9, [4.0, 5.0, 6.0]]]}}


def test_the_papers_schedule_by_hand() -> None:
    """Windows and what is kept at stages 0, 14, 15 and 99 of L = 14, R = 20, T = 20, S = 100, with eight remembered."""
    paper = {"first": 14, "last": 20, "stages": 100, "branches": 3}
    branch, history = B2(B2Options(**paper)), B2(B2Options(**paper, group="prompt-history", history=8))
    expected = {
        # stage: steps of the window, rewards, kept among siblings, kept in the prompt's history
        0: (14, [1.0, 2.0, 3.0], [0, 2], [0, 2]),
        14: (14, [4.0, 5.0, 6.0], [0, 2], [0, 2]),  # stage 0 is forgotten
        15: (15, [7.0, 8.0, 9.0], [0, 2], [2]),  # among 4 to 9, 7 has A = 0.29 and 9 has 1.46
        99: (20, [5.0, 5.0, 5.0], [], []),
    }
    for stage, (steps, rewards, of_branch, of_history) in expected.items():
        for rollout, kept in ((branch, of_branch), (history, of_history)):
            plan = rollout.plan(stage, 100, 20)
            assert plan.window == (20 - steps, 20) and plan.branch_step == 20 - steps
            assert kept_of(rollout, [rewards], "a", epoch=stage) == [kept]


def test_resumed_it_selects_as_without_a_stop() -> None:
    straight, restored = B2(HISTORY), B2(HISTORY)
    kept_of(straight, [[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]], "ab", epoch=0)
    restored.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    later = ([[4.0, 5.0, 6.0], [5.0, 4.0, 5.5]], "ab")
    assert kept_of(straight, *later, epoch=1) == kept_of(restored, *later, epoch=1) == [[2], [1, 2]]
    assert kept_of(B2(HISTORY), *later, epoch=1) == [[0, 2], [1, 2]]
    assert straight.state_dict() == restored.state_dict()


def test_without_a_history_a_state_is_refused() -> None:
    assert B2().state_dict() == {}
    B2().load_state_dict({})
    with pytest.raises(TrainingError, match='group = "branch" has no state'):
        B2().load_state_dict({"rewards": {}})
