from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk import Prompt
from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Needs
from dagsdk_rl.ddpo import DDPO
from dagsdk_rl.options import DDPOOptions


def _seen(dagsdk_trajectories, scores: list[float], texts: str | None = None):
    """An epoch with these scores; texts has a letter for each trajectory's prompt."""
    rows = torch.arange(len(scores)) % len(dagsdk_trajectories)
    prompts = tuple(Prompt(letter) for letter in texts or "a" * len(scores))
    return evolve(dagsdk_trajectories.take(rows), scores=torch.tensor(scores), prompts=prompts)


def _values(objective: DDPO, seen) -> np.ndarray[Any, Any]:
    return objective.prepare(seen).values.numpy()


def test_without_tracking_advantages_are_the_epochs(dagsdk_trajectories) -> None:
    scores = [3.0, -1.0, 0.5, 2.0, 7.0]
    found = _values(DDPO(DDPOOptions(tracking=False)), _seen(dagsdk_trajectories, scores, "aabbc"))
    r = np.array(scores)
    assert np.allclose(found, (r - r.mean()) / (r.std() + 1e-8), atol=1e-6)


def test_prompts_with_enough_scores_have_statistics_of_their_own(dagsdk_trajectories) -> None:
    objective = DDPO(DDPOOptions(history=4, min_count=3))
    scores = [1.0, 2.0, 6.0, 10.0, 20.0]
    signals = objective.prepare(_seen(dagsdk_trajectories, scores, "aaabb"))
    r = np.array(scores)
    own, all_of_them = r[:3], r
    expected = [
        *((own - own.mean()) / (own.std() + 1e-6)),
        *((r[3:] - all_of_them.mean()) / (all_of_them.std() + 1e-6)),
    ]
    assert np.allclose(signals.values.numpy(), expected, atol=1e-6)
    assert signals.metrics["tracked"] == pytest.approx(0.6)


def test_only_the_last_scores_count_and_the_epochs_own_are_among_them(dagsdk_trajectories) -> None:
    objective = DDPO(DDPOOptions(history=3, min_count=3))
    objective.prepare(_seen(dagsdk_trajectories, [100.0, 1.0, 2.0], "aaa"))
    found = _values(objective, _seen(dagsdk_trajectories, [6.0], "a"))
    r = np.array([1.0, 2.0, 6.0])  # 100 was pushed out
    assert np.allclose(found, (6 - r.mean()) / (r.std() + 1e-6))


def test_by_default_sixteen_scores_are_enough_and_fifteen_are_not(dagsdk_trajectories) -> None:
    r = np.random.default_rng(0).normal(size=16).astype(np.float32)
    others = [50.0, 60.0]
    few = DDPO().prepare(_seen(dagsdk_trajectories, [*r[:15].tolist(), *others], "a" * 15 + "bb"))
    enough = DDPO().prepare(_seen(dagsdk_trajectories, [*r.tolist(), *others], "a" * 16 + "bb"))
    assert few.metrics["tracked"] == 0
    assert enough.metrics["tracked"] == pytest.approx(16 / 18)
    own = r.astype(float)
    assert np.allclose(enough.values.numpy()[:16], (own - own.mean()) / (own.std() + 1e-6), atol=1e-5)


def test_advantages_are_clamped_and_counted(dagsdk_trajectories) -> None:
    seen = _seen(dagsdk_trajectories, [0.0] * 35 + [1.0])  # the last has (35/36) / (√35/36) = √35 = 5.9
    signals = DDPO(DDPOOptions(tracking=False)).prepare(seen)
    assert signals.values.max() == 5.0
    assert signals.metrics["advantage_clipped"] == pytest.approx(1 / 36)


def test_resumed_it_goes_on_to_the_same_bits_and_a_new_one_does_not(dagsdk_trajectories) -> None:
    options = DDPOOptions(history=4, min_count=2)
    going_on, restored, new = (DDPO(options) for _ in range(3))
    going_on.prepare(_seen(dagsdk_trajectories, [1.0, 2.0, 6.0], "aab"))
    restored.load_state_dict(json.loads(json.dumps(going_on.state_dict())))
    for scores in ([3.0, 4.0, 9.0], [0.1, 0.7, -2.0]):
        seen = _seen(dagsdk_trajectories, scores, "abb")
        straight = _values(going_on, seen)
        assert np.array_equal(straight, _values(restored, seen))
        assert not np.array_equal(straight, _values(new, seen))
    assert going_on.state_dict() == restored.state_dict()


def test_a_state_for_one_that_keeps_none_is_refused() -> None:
    objective = DDPO(DDPOOptions(tracking=False))
    objective.load_state_dict({})
    with pytest.raises(TrainingError, match="without tracking has no state"):
        objective.load_state_dict({"scores": {}})


def test_weights_are_a_softmax_of_mean_one_and_ask_for_no_old_density(dagsdk_trajectories, dagsdk_transitions) -> None:
    objective = DDPO(DDPOOptions(variant="weighted", tracking=False, temperature=0.5))
    assert objective.needs == frozenset()
    scores = [3.0, -1.0, 0.5]
    signals = objective.prepare(_seen(dagsdk_trajectories, scores, "abc"))
    r = np.array(scores)
    weights = np.exp((r - r.mean()) / (r.std() + 1e-8) / 0.5)
    weights *= 3 / weights.sum()
    assert np.allclose(signals.values.numpy(), weights, atol=1e-5)
    assert signals.metrics["effective"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    batch = dagsdk_transitions(objective.needs, 5)
    batch = evolve(batch, signal=torch.arange(5.0))
    assert torch.equal(objective.loss(batch).values, -torch.arange(5.0) * batch.log_pf)


def test_equal_scores_weigh_the_same(dagsdk_trajectories) -> None:
    signals = DDPO(DDPOOptions(variant="weighted")).prepare(_seen(dagsdk_trajectories, [0.3] * 4))
    assert torch.equal(signals.values, torch.ones(4))
    assert signals.metrics["effective"] == pytest.approx(4)


def test_the_loss_is_that_of_its_clip_range(dagsdk_transitions) -> None:
    objective = DDPO(DDPOOptions(clip_range=0.1))
    assert objective.needs == {Needs.OLD_LOG_PROB}
    batch = evolve(
        dagsdk_transitions(n=2),
        log_pf=torch.tensor([1.5, 1.5]).log(),
        log_pf_old=torch.zeros(2),
        signal=torch.tensor([1.0, -1.0]),
    )
    assert torch.allclose(objective.loss(batch).values, torch.tensor([-1.1, 1.5]))


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
