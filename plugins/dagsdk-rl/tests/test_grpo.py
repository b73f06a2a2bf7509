from __future__ import annotations

import numpy as np
import pytest
import torch
from attrs import evolve

from dagsdk.errors import TrainingError
from dagsdk.objectives.protocol import Needs
from dagsdk.testing.trajectories import trajectories
from dagsdk_rl.grpo import GRPO
from dagsdk_rl.options import GRPOOptions

SCORES = np.array([[1.0, 2.0, 6.0], [10.0, -4.0, 0.5], [0.3, 0.3, 0.3]])


def _prepared(scores=SCORES, **options):
    seen = evolve(trajectories(*scores.shape), scores=torch.tensor(scores.flatten(), dtype=torch.float32))
    return GRPO(GRPOOptions(**options)).prepare(seen)


@pytest.mark.parametrize("std", ["group", "batch"])
def test_advantages_are_those_of_numpy(std: str) -> None:
    signals = _prepared(std=std)
    r = SCORES.astype(np.float32).astype(float)
    spread = r.std(1, keepdims=True) if std == "group" else r.std()
    expected = (r - r.mean(1, keepdims=True)) / (spread + 1e-4)
    expected[2] = 0
    assert np.allclose(signals.values.numpy(), expected.flatten(), atol=1e-6)


@pytest.mark.parametrize("std", ["group", "batch"])
def test_groups_of_one_score_have_no_advantage_and_are_counted(std: str) -> None:
    signals = _prepared(std=std)
    assert torch.equal(signals.values[6:], torch.zeros(3)) and (signals.values[:6] != 0).all()
    assert signals.metrics["zero_std_groups"] == 1
    assert signals.metrics["zero_std_share"] == pytest.approx(1 / 3)
    assert _prepared(SCORES[:2], std=std).metrics["zero_std_groups"] == 0


def test_groups_need_not_be_neighbours_or_counted_from_zero() -> None:
    seen = evolve(trajectories(2, 2), group=torch.tensor([9, 4, 9, 4]), scores=torch.tensor([1.0, 10.0, 3.0, 30.0]))
    values = GRPO().prepare(seen).values
    assert torch.allclose(values, torch.tensor([-1.0, -1.0, 1.0, 1.0]), atol=1e-3)


def test_advantages_are_clamped() -> None:
    scores = np.zeros((1, 40))
    scores[0, 0] = 1  # √39 = 6.2
    signals = _prepared(scores, advantage_clip=2.0)
    assert signals.values.max() == 2.0
    assert signals.metrics["advantage_clipped"] == pytest.approx(1 / 40)


def test_one_image_a_prompt_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(TrainingError, match=r"rollout\.images_per_prompt >= 2"):
        GRPO().prepare(trajectories(4, 1))


def test_the_reference_is_asked_for_only_where_it_weighs() -> None:
    assert GRPO().needs == {Needs.OLD_LOG_PROB, Needs.GROUPS}
    assert GRPO(GRPOOptions(kl_weight=0.1)).needs == {Needs.OLD_LOG_PROB, Needs.GROUPS, Needs.REFERENCE}


@pytest.mark.parametrize(("kl", "name"), [("x", "reference_kl"), ("output", "reference_gap")])
def test_the_distance_from_the_reference_is_added(dagsdk_transitions, kl: str, name: str) -> None:
    batch = dagsdk_transitions(n=6)
    near = GRPO(GRPOOptions(kl_weight=0.25, kl=kl)).loss(batch)
    free = GRPO().loss(batch)
    assert torch.allclose(near.values, free.values + 0.25 * getattr(batch, name))
    assert torch.equal(near.metrics[name], getattr(batch, name).detach())
    assert name not in free.metrics


def test_it_keeps_no_state() -> None:
    objective = GRPO()
    assert objective.state_dict() == {}
    with pytest.raises(TrainingError, match="GRPO has no state"):
        objective.load_state_dict({"baseline": 1.0})
