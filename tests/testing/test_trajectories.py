"""What objectives and rollouts are tested with fits together as the trajectories and batches of a run do."""

from __future__ import annotations

from operator import attrgetter

import pytest
import torch

from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Denoisings, Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.testing.records import PARTS, TRAINED, filled_by, same, tensors, undeclared
from dagsdk.testing.trajectories import denoisings, equally_rewarded, trajectories, transitions

SOME_NEEDS = [frozenset(), frozenset({Needs.STATE_FLOW}), frozenset({Needs.REFERENCE, Needs.OLD}), frozenset(Needs)]
MAKERS = {Transitions: transitions, Denoisings: denoisings}


@pytest.mark.parametrize("needs", SOME_NEEDS)
@pytest.mark.parametrize("kind", MAKERS)
def test_batches_have_only_the_parts_that_are_needed(kind: type, needs: frozenset[Needs]) -> None:
    batch, full = MAKERS[kind](needs, 9, seed=3), MAKERS[kind](frozenset(Needs), 9, seed=3)
    assert set(batch.parts) == needs & PARTS[kind].keys()
    assert set(tensors(full)) - set(tensors(batch)) == undeclared(kind, needs)
    assert set(full.parts) == PARTS[kind].keys()
    for name, tensor in tensors(batch).items():
        assert same(tensor, attrgetter(name)(full)), name
        assert len(tensor) == 9
        leaf = attrgetter(name)(batch)
        assert leaf.is_leaf
        assert leaf.requires_grad == (name in TRAINED[kind])


def test_every_part_has_a_name_that_can_be_read() -> None:
    for record in (transitions(), denoisings(), trajectories()):
        for need, (name, part) in PARTS[type(record)].items():
            assert isinstance(getattr(record, name), part)
            assert set(filled_by(type(record), need)) <= set(tensors(record))
    # FORWARD_LOOKING changes log F, and is the only need without a part.
    assert set(Needs) - {need for parts in PARTS.values() for need in parts} == {Needs.FORWARD_LOOKING}


def test_transitions_are_of_their_trajectories() -> None:
    sampled = trajectories(seed=1)
    signals = Signals(beta=3.0, values=sampled.rewards + 7)
    batch = transitions(n=50, of=sampled, signals=signals, moved=0.0)
    assert torch.allclose(batch.signal - 7, batch.log_reward / 3, atol=1e-5)
    assert same(batch.log_pf, batch.old.log_pf)
    assert same(batch.state_flow.next[batch.is_last], batch.log_reward[batch.is_last])
    assert batch.is_last.any()
    assert same(batch.is_last, batch.step == 4)


def test_denoisings_are_of_their_trajectories() -> None:
    sampled = trajectories(steps=0, seed=1)
    signals = Signals(beta=3.0, values=sampled.rewards + 7)
    batch = denoisings(n=50, of=sampled, signals=signals, moved=0.0)
    assert torch.allclose(batch.signal - 7, batch.log_reward / 3, atol=1e-5)
    assert same(batch.output, batch.output_old)
    assert same(batch.output, batch.output_reference)
    for group, reward in zip(batch.group.tolist(), batch.log_reward.tolist(), strict=True):
        assert reward in (3.0 * sampled.rewards[sampled.group == group]).tolist()
    alpha, sigma = (value[:, None, None, None] for value in (batch.alpha, batch.sigma))
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(()))
    # v = α ε - σ x_0 and x_t = α x_0 + σ ε give x_0 and ε back.
    assert torch.allclose(alpha * batch.target + sigma * batch.x_t, batch.noise, atol=1e-5)
    clean = alpha * batch.x_t - sigma * batch.target
    assert torch.allclose(alpha * clean + sigma * batch.noise, batch.x_t, atol=1e-5)
    assert not same(batch.target, batch.noise)


def test_some_outputs_moved_and_some_did_not() -> None:
    batch = denoisings(n=200, moved=0.5)
    gap = (batch.output - batch.output_old).abs().flatten(1).max(1).values
    assert ((gap == 0).float().mean() - 0.5).abs() < 0.15
    assert 0.3 < gap.max() <= 0.5


def test_large_batches_are_as_large_as_promised() -> None:
    batch = transitions(n=200, moved=50.0, large=True)
    for name in ("old.log_pf", "log_pb", "state_flow.here", "log_reward"):
        assert attrgetter(name)(batch).abs().max() == 1e4, name
    gap = (batch.log_pf - batch.old.log_pf).abs().max()
    assert 40 < gap <= 50
    images = denoisings(n=200, moved=50.0, large=True)
    assert images.log_reward.abs().max() == 1e4
    assert images.output.abs().max() > 1e4
    gaps = (images.output - images.output_old).abs().flatten(1).max(1).values
    assert gaps.min() > 0
    assert 40 < gaps.max() <= 50.01


def test_trajectories_are_the_same_for_a_seed_only() -> None:
    first, again, other = (trajectories(branches=2, branch_step=2, seed=seed) for seed in (4, 4, 5))
    assert same(tensors(first), tensors(again))
    assert not same(tensors(first), tensors(other))
    assert len(first.rewards.unique()) == len(first) == 24


def test_branches_share_their_first_steps() -> None:
    sampled = trajectories(prompts=2, images_per_prompt=3, branches=2, branch_step=2)
    assert sampled.group.tolist() == [0] * 6 + [1] * 6
    assert sampled.branch.tolist() == [i // 2 for i in range(12)]
    for density in (sampled.log_pf_old, sampled.log_pb, sampled.reference.log_pf):
        pairs = density.reshape(6, 2, 5)
        assert same(pairs[:, 0, :2], pairs[:, 1, :2])
        assert (pairs[:, 0, 2:] != pairs[:, 1, 2:]).all()


def test_log_f_ends_with_the_reward() -> None:
    sampled = trajectories()
    assert same(sampled.state_flow.network[:, -1], torch.zeros(12))
    assert same(sampled.state_flow.potential[:, -1], sampled.rewards)


def test_trajectories_are_those_of_all_processes_and_of_the_forward_process() -> None:
    with pytest.raises(TrainingError, match="latents"):
        _ = trajectories().latents
    forward = trajectories(steps=0)
    assert forward.log_pf_old.shape == forward.log_pb.shape == (12, 0)
    assert not forward.parts
    assert not trajectories(needs=()).parts
    with pytest.raises(TrainingError, match="REFERENCE_PATH"):
        _ = trajectories(needs={Needs.STATE_FLOW_PATH}).reference


def test_a_part_of_trajectories_keeps_its_rows_together() -> None:
    sampled: Trajectories = trajectories()
    part = sampled.part(torch.tensor([5, 0]))
    assert part.prompts == (sampled.prompts[5], sampled.prompts[0])
    assert same(tensors(part), {name: tensor[[5, 0]] for name, tensor in tensors(sampled).items()})


def test_equal_rewards_are_equal_by_every_name() -> None:
    sampled = equally_rewarded(trajectories(), 0.3)
    assert same(sampled.rewards, torch.full((12,), 0.3))
    assert all(same(reward, sampled.rewards) for reward in sampled.raw_rewards.values())
