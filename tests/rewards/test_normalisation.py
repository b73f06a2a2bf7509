from __future__ import annotations

import json

import pytest
import torch

from dagsdk.rewards.normalisation import Normaliser, Scale, rows

GROUP = torch.tensor([7, 7, 7, 2, 2])
REWARDS = torch.tensor([1.0, 2.0, 6.0, -4.0, 4.0])


def test_by_prompt_each_group_has_mean_0_and_std_1() -> None:
    scale = Normaliser({"a": "prompt"}, 1).fit({"a": REWARDS}, GROUP)["a"]
    scaled = scale(REWARDS)
    for group in (7, 2):
        part = scaled[group == GROUP]
        assert part.mean().item() == pytest.approx(0, abs=1e-6)
        assert part.std(correction=0).item() == pytest.approx(1)
    assert scale.mean.tolist() == [3, 3, 3, 0, 0]


def test_an_affine_change_of_the_rewards_changes_nothing() -> None:
    for mode in ("prompt", "running"):
        plain, other = Normaliser({"a": mode}, 3), Normaliser({"a": mode}, 3)
        for epoch in range(4):
            rewards = REWARDS + epoch * torch.arange(5)
            one = plain.fit({"a": rewards}, GROUP)["a"](rewards)
            two = other.fit({"a": 100 * rewards - 40}, GROUP)["a"](100 * rewards - 40)
            assert torch.allclose(one, two, atol=1e-5)


def test_running_is_the_mean_and_std_of_all_rewards_of_the_window() -> None:
    normaliser = Normaliser({"a": "running"}, window=3)
    generator = torch.Generator().manual_seed(0)
    epochs = [torch.randn(n, generator=generator) * n for n in (4, 9, 5, 7, 6)]
    for number, rewards in enumerate(epochs):
        scale = normaliser.fit({"a": rewards}, torch.arange(len(rewards)))["a"]
        seen = torch.cat(epochs[max(0, number - 2) : number + 1])
        assert scale.mean.unique().item() == pytest.approx(seen.mean().item(), rel=1e-5)
        assert scale.std.unique().item() == pytest.approx(seen.std(correction=0).item(), rel=1e-5)


def test_equal_rewards_are_only_centred() -> None:
    for mode in ("prompt", "running"):
        scale = Normaliser({"a": mode}, 2).fit({"a": torch.full((4,), 20.1)}, torch.tensor([0, 0, 1, 1]))["a"]
        assert torch.equal(scale.std, torch.ones(4))
        assert scale(torch.full((4,), 20.1)).abs().max() < 1e-5


def test_rewards_without_a_mode_have_no_scale() -> None:
    normaliser = Normaliser({"a": "none", "b": "prompt"}, 1)
    assert set(normaliser.fit({"a": REWARDS, "b": REWARDS}, GROUP)) == {"b"}


def test_a_state_from_json_continues_with_the_same_bits() -> None:
    first, second = Normaliser({"a": "running"}, 2), Normaliser({"a": "running"}, 2)
    first.fit({"a": REWARDS}, GROUP)
    state = first.state_dict()
    second.load_state_dict(json.loads(json.dumps(state)))
    one, two = (normaliser.fit({"a": REWARDS * 3}, GROUP)["a"] for normaliser in (first, second))
    assert torch.equal(one.mean, two.mean) and torch.equal(one.std, two.std)
    assert len(state["history"]["a"]) == 1  # a snapshot


def test_rows_are_those_of_some_trajectories_and_gradients_are_scaled() -> None:
    scales = {"a": Scale(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]))}
    reward = torch.tensor([3.0], requires_grad=True)
    scaled = rows(scales, torch.tensor([1]))["a"](reward)
    scaled.sum().backward()
    assert scaled.item() == pytest.approx(0.2) and reward.grad is not None
    assert reward.grad.item() == pytest.approx(0.2)
