from __future__ import annotations

from operator import attrgetter

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk import Needs, Signals
from dagsdk.errors import TrainingError
from dagsdk.testing.trajectories import trajectories, transitions
from dagsdk_rl import dagsdk_objectives
from dagsdk_rl.grpo import GRPO
from dagsdk_rl.options import GRPOOptions, grpo_needs

REWARDS = np.array([[1.0, 2.0, 6.0], [10.0, -4.0, 0.5], [0.3, 0.3, 0.3]])


def prepared(rewards=REWARDS, **options) -> Signals:
    sampled = evolve(trajectories(*rewards.shape), rewards=torch.tensor(rewards.flatten(), dtype=torch.float32))
    return GRPO(GRPOOptions(**options)).prepare(sampled)


@pytest.mark.parametrize("std", ["group", "batch"])
def test_advantages_are_those_of_numpy(std: str) -> None:
    signals = prepared(std=std)
    r = REWARDS.astype(np.float32).astype(float)
    spread = r.std(1, keepdims=True) if std == "group" else r.std()
    expected = (r - r.mean(1, keepdims=True)) / (spread + 1e-4)
    expected[2] = 0
    assert np.allclose(signals.values.numpy(), expected.flatten(), atol=1e-6)


@pytest.mark.parametrize("std", ["group", "batch"])
def test_groups_of_equal_rewards_have_no_advantage_and_are_counted(std: str) -> None:
    signals = prepared(std=std)
    assert torch.equal(signals.values[6:], torch.zeros(3)) and (signals.values[:6] != 0).all()
    assert signals.metrics["zero_std_groups"] == 1
    assert signals.metrics["zero_std_share"] == pytest.approx(1 / 3)
    assert prepared(REWARDS[:2], std=std).metrics["zero_std_groups"] == 0


def test_groups_need_not_be_neighbours_or_counted_from_zero() -> None:
    sampled = evolve(trajectories(2, 2), group=torch.tensor([9, 4, 9, 4]), rewards=torch.tensor([1.0, 10.0, 3.0, 30.0]))
    values = GRPO().prepare(sampled).values
    assert torch.allclose(values, torch.tensor([-1.0, -1.0, 1.0, 1.0]), atol=1e-3)


def test_advantages_are_clamped() -> None:
    rewards = np.zeros((1, 40))
    rewards[0, 0] = 1  # √39 = 6.2
    signals = prepared(rewards, advantage_clip=2.0)
    assert signals.values.max() == 2.0
    assert signals.metrics["advantage_clipped"] == pytest.approx(1 / 40)


def test_it_compares_images_and_one_per_prompt_is_an_error_that_says_what_to_set() -> None:
    (spec,) = (spec for spec in dagsdk_objectives() if spec.name == "grpo")
    assert spec.compares(GRPOOptions())
    with pytest.raises(TrainingError, match=r"rollout\.images_per_prompt >= 2"):
        GRPO().prepare(trajectories(4, 1))


def test_the_reference_is_needed_only_with_a_weight() -> None:
    assert grpo_needs(GRPOOptions()) == {Needs.OLD}
    assert grpo_needs(GRPOOptions(kl_weight=0.1)) == {Needs.OLD, Needs.REFERENCE}


@pytest.mark.parametrize(
    ("kl", "metric", "part"), [("x", "reference_kl", "reference.kl"), ("output", "reference_gap", "reference.gap")]
)
def test_the_distance_from_the_reference_is_added(kl: str, metric: str, part: str) -> None:
    batch = transitions(n=6)
    near = GRPO(GRPOOptions(kl_weight=0.25, kl=kl)).loss(batch)
    free = GRPO().loss(batch)
    distance = attrgetter(part)(batch)
    assert torch.allclose(near.values, free.values + 0.25 * distance)
    assert torch.equal(near.metrics[metric], distance.detach())
    assert metric not in free.metrics


def test_it_has_no_state() -> None:
    objective = GRPO()
    assert objective.state_dict() == {}
    with pytest.raises(TrainingError, match="GRPO has no state"):
        objective.load_state_dict({"baseline": 1.0})
