from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk import Needs, Prompt, Trajectories
from dagsdk.errors import TrainingError
from dagsdk.objectives.parts import Old
from dagsdk.testing.trajectories import trajectories, transitions
from dagsdk_rl.ddpo import DDPO
from dagsdk_rl.options import DDPOOptions, ddpo_needs


def epoch_of(rewards: list[float], texts: str | None = None) -> Trajectories:
    """An epoch with these rewards; texts has one letter per trajectory, its prompt."""
    drawn = trajectories()
    rows = torch.arange(len(rewards)) % len(drawn)
    prompts = tuple(Prompt(letter) for letter in texts or "a" * len(rewards))
    return evolve(drawn.part(rows), rewards=torch.tensor(rewards), prompts=prompts)


def advantages(objective: DDPO, sampled: Trajectories) -> np.ndarray[Any, Any]:
    return objective.prepare(sampled).values.numpy()


def test_without_tracking_advantages_are_relative_to_the_epoch() -> None:
    rewards = [3.0, -1.0, 0.5, 2.0, 7.0]
    found = advantages(DDPO(DDPOOptions(tracking=False)), epoch_of(rewards, "aabbc"))
    r = np.array(rewards)
    assert np.allclose(found, (r - r.mean()) / (r.std() + 1e-8), atol=1e-6)


def test_prompts_with_enough_rewards_have_their_own_statistics() -> None:
    objective = DDPO(DDPOOptions(history=4, min_count=3))
    rewards = [1.0, 2.0, 6.0, 10.0, 20.0]
    signals = objective.prepare(epoch_of(rewards, "aaabb"))
    r = np.array(rewards)
    own, all_of_them = r[:3], r
    expected = [
        *((own - own.mean()) / (own.std() + 1e-6)),
        *((r[3:] - all_of_them.mean()) / (all_of_them.std() + 1e-6)),
    ]
    assert np.allclose(signals.values.numpy(), expected, atol=1e-6)
    assert signals.metrics["tracked"] == pytest.approx(0.6)


def test_only_the_latest_rewards_count_and_the_current_ones_are_among_them() -> None:
    objective = DDPO(DDPOOptions(history=3, min_count=3))
    objective.prepare(epoch_of([100.0, 1.0, 2.0], "aaa"))
    found = advantages(objective, epoch_of([6.0], "a"))
    r = np.array([1.0, 2.0, 6.0])  # 100 was pushed out
    assert np.allclose(found, (6 - r.mean()) / (r.std() + 1e-6))


def test_by_default_sixteen_rewards_are_enough_and_fifteen_are_not() -> None:
    r = np.random.default_rng(0).normal(size=16).astype(np.float32)
    others = [50.0, 60.0]
    few = DDPO().prepare(epoch_of([*r[:15].tolist(), *others], "a" * 15 + "bb"))
    enough = DDPO().prepare(epoch_of([*r.tolist(), *others], "a" * 16 + "bb"))
    assert few.metrics["tracked"] == 0
    assert enough.metrics["tracked"] == pytest.approx(16 / 18)
    own = r.astype(float)
    assert np.allclose(enough.values.numpy()[:16], (own - own.mean()) / (own.std() + 1e-6), atol=1e-5)


def test_advantages_are_clamped_and_counted() -> None:
    sampled = epoch_of([0.0] * 35 + [1.0])  # the last has (35/36) / (√35/36) = √35 = 5.9
    signals = DDPO(DDPOOptions(tracking=False)).prepare(sampled)
    assert signals.values.max() == 5.0
    assert signals.metrics["advantage_clipped"] == pytest.approx(1 / 36)


def test_resumed_it_continues_to_the_same_bits_and_a_new_one_does_not() -> None:
    options = DDPOOptions(history=4, min_count=2)
    straight, restored, new = (DDPO(options) for _ in range(3))
    straight.prepare(epoch_of([1.0, 2.0, 6.0], "aab"))
    restored.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    for rewards in ([3.0, 4.0, 9.0], [0.1, 0.7, -2.0]):
        sampled = epoch_of(rewards, "abb")
        expected = advantages(straight, sampled)
        assert np.array_equal(expected, advantages(restored, sampled))
        assert not np.array_equal(expected, advantages(new, sampled))
    assert straight.state_dict() == restored.state_dict()


def test_without_tracking_a_state_is_refused() -> None:
    objective = DDPO(DDPOOptions(tracking=False))
    objective.load_state_dict({})
    with pytest.raises(TrainingError, match="without tracking has no state"):
        objective.load_state_dict({"rewards": {}})


def test_weights_are_a_softmax_of_mean_one() -> None:
    objective = DDPO(DDPOOptions(variant="weighted", tracking=False, temperature=0.5))
    rewards = [3.0, -1.0, 0.5]
    signals = objective.prepare(epoch_of(rewards, "abc"))
    r = np.array(rewards)
    weights = np.exp((r - r.mean()) / (r.std() + 1e-8) / 0.5)
    weights *= 3 / weights.sum()
    assert np.allclose(signals.values.numpy(), weights, atol=1e-5)
    assert signals.metrics["effective"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    batch = evolve(transitions(needs=(), n=5), signal=torch.arange(5.0))
    assert torch.equal(objective.loss(batch).values, -torch.arange(5.0) * batch.log_pf)


def test_equal_rewards_have_the_same_weight() -> None:
    signals = DDPO(DDPOOptions(variant="weighted")).prepare(epoch_of([0.3] * 4))
    assert torch.equal(signals.values, torch.ones(4))
    assert signals.metrics["effective"] == pytest.approx(4)


def test_the_loss_has_the_clip_range_of_the_options() -> None:
    batch = transitions(n=2)
    batch = evolve(
        batch,
        log_pf=torch.tensor([1.5, 1.5]).log(),
        signal=torch.tensor([1.0, -1.0]),
        parts={Needs.OLD: Old(log_pf=torch.zeros(2))},
    )
    assert torch.allclose(DDPO(DDPOOptions(clip_range=0.1)).loss(batch).values, torch.tensor([-1.1, 1.5]))


def test_only_the_ratio_needs_the_old_policy() -> None:
    assert ddpo_needs(DDPOOptions()) == {Needs.OLD}
    assert ddpo_needs(DDPOOptions(variant="weighted")) == frozenset()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"history": 0}, "history"),
        ({"history": 4, "min_count": 5}, "min_count.*<= history = 4"),
        ({"clip_range": 0.0}, "clip_range"),
        ({"temperature": -1.0}, "temperature"),
        ({"advantage_clip": 0.0}, "advantage_clip"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DDPOOptions(**options)
