"""What objectives and rollouts are tried with holds together as a run's trajectories and transitions do."""

from __future__ import annotations

import attrs
import pytest
import torch

from dagsdk.objectives.protocol import Needs, Signals, Transitions
from dagsdk.testing.trajectories import FILLED, TRAINED, Sampled, same, tensors, trajectories, transitions, undeclared


@pytest.mark.parametrize(
    "needs", [frozenset(), frozenset({Needs.FLOW}), frozenset({Needs.REFERENCE, Needs.OLD_LOG_PROB}), frozenset(Needs)]
)
def test_transitions_have_just_the_fields_that_are_needed(needs: frozenset[Needs]) -> None:
    batch, full = transitions(needs, 9, seed=3), transitions(frozenset(Needs), 9, seed=3)
    names = {field.name for field in attrs.fields(Transitions)}
    assert set(tensors(batch)) == names - undeclared(needs)
    assert set(tensors(full)) == names
    for name, tensor in tensors(batch).items():
        assert same(tensor, getattr(full, name)), name
        assert len(tensor) == 9
        assert getattr(batch, name).requires_grad == (name in TRAINED)


def test_every_need_says_what_it_fills() -> None:
    assert set(FILLED) == set(Needs)


def test_transitions_are_of_their_trajectories() -> None:
    seen = trajectories(seed=1)
    signals = Signals(beta=3.0, values=seen.scores + 7)
    batch = transitions(n=50, of=seen, signals=signals, moved=0.0)
    assert torch.allclose(batch.signal - 7, batch.log_reward / 3, atol=1e-5)
    assert same(batch.log_pf, batch.log_pf_old)
    assert same(batch.log_flow_next[batch.is_last], batch.log_reward[batch.is_last])
    assert batch.is_last.any()
    assert same(batch.is_last, batch.step == 4)


def test_large_transitions_are_as_large_as_promised() -> None:
    batch = transitions(n=200, moved=50.0, large=True)
    for name in ("log_pf_old", "log_pb", "log_flow", "log_reward"):
        assert getattr(batch, name).abs().max() == 1e4, name
    gap = (batch.log_pf - batch.log_pf_old).abs().max()
    assert 40 < gap <= 50


def test_trajectories_are_the_same_for_a_seed_only() -> None:
    first, again, other = (trajectories(branches=2, branch_step=2, seed=seed) for seed in (4, 4, 5))
    assert same(tensors(first), tensors(again))
    assert not same(tensors(first), tensors(other))
    assert len(first.scores.unique()) == len(first) == 24


def test_branches_share_their_first_steps() -> None:
    seen = trajectories(prompts=2, images_per_prompt=3, branches=2, branch_step=2)
    assert seen.group.tolist() == [0] * 6 + [1] * 6
    assert seen.branch.tolist() == [i // 2 for i in range(12)]
    for density in (seen.log_pf_old, seen.log_pb):
        pairs = density.reshape(6, 2, 5)
        assert same(pairs[:, 0, :2], pairs[:, 1, :2])
        assert (pairs[:, 0, 2:] != pairs[:, 1, 2:]).all()


def test_taken_trajectories_keep_what_belongs_together() -> None:
    seen: Sampled = trajectories()
    taken = seen.take(torch.tensor([5, 0]))
    assert taken.prompts == (seen.prompts[5], seen.prompts[0])
    assert same(tensors(taken), {name: tensor[[5, 0]] for name, tensor in tensors(seen).items()})
