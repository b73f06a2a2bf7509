from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dagsdk.errors import ConfigError, RewardError
from dagsdk.prompts.protocol import Prompt
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Scale
from dagsdk.rewards.protocol import Reward

IMAGES = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
PROMPTS = [Prompt(text) for text in ("a", "bb", "ccc", "dddd")]


def _red(images: Tensor, prompts: list[Prompt]) -> Tensor:
    return images[:, 0].mean((1, 2))


def _length(images: Tensor, prompts: list[Prompt]) -> Tensor:
    return torch.tensor([float(len(prompt.text)) for prompt in prompts])


def test_a_mixture_is_a_reward() -> None:
    assert isinstance(RewardMixture([("red", 1.0, _red)]), Reward)


def test_one_reward_of_weight_one_keeps_its_bits() -> None:
    rewards = torch.tensor([-0.0, 1e-45, 0.1, 3.4e38])
    mixed = RewardMixture([("own", 1.0, lambda images, prompts: rewards)])(IMAGES, PROMPTS)
    assert torch.equal(mixed.view(torch.int32), rewards.view(torch.int32))


def test_rewards_are_weighted_and_added() -> None:
    mixture = RewardMixture([("red", 2.0, _red), ("length", -0.5, _length), ("unused", 0.0, _length)])
    expected = 2 * _red(IMAGES, PROMPTS) - 0.5 * torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(mixture(IMAGES, PROMPTS), expected)


def test_each_reward_is_there_without_its_weight() -> None:
    mixture = RewardMixture([("red", 2.0, _red), ("length", -0.5, _length)])
    each = mixture.reward_each(IMAGES, PROMPTS)
    assert list(each) == ["red", "length"]
    assert each["length"].tolist() == [1.0, 2.0, 3.0, 4.0]
    torch.testing.assert_close(mixture.combine(each), mixture(IMAGES, PROMPTS))


def test_gradients_go_through() -> None:
    images = IMAGES.clone().requires_grad_()
    RewardMixture([("red", 3.0, _red)])(images, PROMPTS).sum().backward()
    torch.testing.assert_close(images.grad[:, 0], torch.full((4, 2, 2), 0.75))
    assert not images.grad[:, 1:].any()


def test_a_reward_that_raises_is_named_and_its_error_is_the_cause() -> None:
    def broken(images: Tensor, prompts: list[Prompt]) -> Tensor:
        raise KeyError("question")

    with pytest.raises(RewardError, match=r"reward 'vqa' raised KeyError: 'question'.*4 images") as caught:
        RewardMixture([("red", 1.0, _red), ("vqa", 1.0, broken)])(IMAGES, PROMPTS)
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_interrupt_is_not_the_rewards_fault() -> None:
    def interrupted(images: Tensor, prompts: list[Prompt]) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RewardMixture([("slow", 1.0, interrupted)])(IMAGES, PROMPTS)


def test_a_reward_that_breaks_the_contract_is_named() -> None:
    with pytest.raises(RewardError, match=r"reward 'flat' returned shape \(4, 1\)"):
        RewardMixture([("flat", 1.0, lambda images, prompts: torch.zeros(4, 1))])(IMAGES, PROMPTS)


def test_nan_is_named_even_where_its_weight_is_zero() -> None:
    with pytest.raises(RewardError, match=r"'bad' returned nan for image 0 of 4 \(prompt 'a'\)"):
        bad = ("bad", 0.0, lambda images, prompts: torch.full((4,), torch.nan))
        RewardMixture([("red", 1.0, _red), bad])(IMAGES, PROMPTS)


def test_rewards_that_are_only_reported_are_left_out_for_training() -> None:
    mixture = RewardMixture([("red", 2.0, _red), ("reported", 0.0, lambda images, prompts: 1 / 0)])
    rewards = mixture.reward_each(IMAGES, PROMPTS, trained=True)
    assert list(rewards) == ["red"]
    assert torch.equal(mixture.combine(rewards), 2 * _red(IMAGES, PROMPTS))


def test_a_scale_comes_before_the_weight() -> None:
    mixture = RewardMixture([("red", 2.0, _red), ("other", 1.0, _red)])
    rewards = mixture.reward_each(IMAGES, PROMPTS)
    scale = Scale(torch.full((4,), 0.5), torch.full((4,), 0.1))
    red = rewards["red"]
    assert torch.allclose(mixture.combine(rewards, {"red": scale}), 2 * (red - 0.5) / 0.1 + red)


def test_what_rewards_count_is_named_after_them() -> None:
    class Counting:
        def __call__(self, images, prompts):
            return _red(images, prompts)

        def metrics(self):
            return {"unanswered": 3}

    mixture = RewardMixture([("red", 1.0, _red), ("vqa", 1.0, Counting())])
    assert mixture.metrics() == {"reward/vqa/unanswered": 3.0}
    Counting.metrics = lambda self: {"unanswered": float("nan")}
    with pytest.raises(RewardError, match="'vqa' counted 'unanswered' as nan"):
        mixture.metrics()


def test_images_and_prompts_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="4 images with 3 prompts"):
        RewardMixture([("red", 1.0, _red)])(IMAGES, PROMPTS[:3])


def test_all_mistakes_in_the_list_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RewardMixture([("red", 1.0, _red), ("red", float("nan"), _red)])
    assert [problem[:5] for problem in caught.value.problems] == ["'red'", "'red'"]
    assert "is listed 2 times" in caught.value.problems[0]
    assert "weight nan" in caught.value.problems[1]


def test_no_reward_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        RewardMixture([])
