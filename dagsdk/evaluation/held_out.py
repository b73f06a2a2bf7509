"""The evaluation inside a run: the same prompts and seeds before training, every so often, and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attrs import evolve, frozen
from torch import Tensor

from dagsdk.config.schema import EvaluateConfig
from dagsdk.engine.drawing import Drawn
from dagsdk.engine.progress import Counter
from dagsdk.engine.sampler import Sampler, decoded
from dagsdk.evaluation.paired import mean_and_error, paired_gain
from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.rewards.mixture import RewardMixture
from dagsdk.rewards.normalisation import Scale
from dagsdk.rollouts.protocol import RolloutPlan

ByReward = Mapping[str, Sequence[float]]
"""One raw reward per image, by the name of the reward."""


@frozen(eq=False, kw_only=True)
class Evaluated:
    """Images of fixed prompts and seeds with their rewards.

    images: shape (n, 3, h, w), float32 in [0, 1], on the CPU (for plain vectors (n, d)). rewards: raw, by name.
    """

    images: Tensor
    rewards: ByReward
    prompts: Sequence[Prompt]
    seeds: Sequence[int]


@frozen(eq=False, kw_only=True)
class HeldOut:
    """Samples fixed prompts and seeds, and compares their rewards with those of the model before training.

    standardised: rewards that are taken relative to the base model's mean and standard deviation, as those are that
        training normalises.
    """

    config: EvaluateConfig
    prompts: PromptSet
    reward: RewardMixture
    standardised: frozenset[str] = frozenset()

    def evaluate(self, sampler: Sampler, counter: Counter) -> Evaluated:
        """One image per prompt and seed, with its rewards; the same each time for the same weights."""
        count = self.config.samples
        counter.begin("evaluation", count * sampler.policy.schedule.steps)
        prompts, seeds = fixed_prompts(self.prompts, count), [self.config.seed + i for i in range(count)]
        sampler = evolve(sampler, tick=counter.add)
        images, rewards = [], []
        for start in range(0, count, sampler.batch):
            rows = slice(start, start + sampler.batch)
            batch = sampled_images(sampler, prompts[rows], seeds[rows])
            images.append(batch.cpu())
            rewards.append(self.reward.reward_each(batch, prompts[rows]))
        by_name = {name: torch.cat([part[name] for part in rewards]).tolist() for name in rewards[0]}
        return Evaluated(images=torch.cat(images), rewards=by_name, prompts=prompts, seeds=seeds)

    def metrics(self, rewards: ByReward, base: ByReward) -> dict[str, float]:
        """Mean reward and its gain over the base model, paired by image; also by reward where there are several."""
        found = _compared("evaluate", self._combined(base, base), self._combined(rewards, base))
        if len(rewards) > 1:
            for name in rewards:
                found |= _compared(f"evaluate/{name}", base[name], rewards[name])
        return found

    def _combined(self, rewards: ByReward, base: ByReward) -> list[float]:
        """The weighted sum, image by image."""
        scales = {}
        for name in self.standardised:
            before = torch.tensor(base[name], dtype=torch.float64)
            spread = before.std(correction=0)
            scales[name] = Scale(before.mean(), spread if spread > 0 else torch.ones(()))
        tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in rewards.items()}
        combined: list[float] = self.reward.combine(tensors, scales).tolist()
        return combined


def sampled_images(sampler: Sampler, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Tensor:
    """One image per prompt and seed: shape (n, 3, h, w), float32 in [0, 1], on the sampler's device."""
    plan = RolloutPlan(window=(0, sampler.policy.schedule.steps))
    trajectories = sampler.sample(Drawn(prompts=prompts, seeds=seeds), plan)
    return decoded(sampler.policy, trajectories.latents.clean, sampler.batch)


def fixed_prompts(prompts: PromptSet, count: int) -> list[Prompt]:
    """`count` prompts; the set is repeated as often as it takes."""
    return [prompts[i % len(prompts)] for i in range(count)]


def _compared(key: str, base: Sequence[float], rewards: Sequence[float]) -> dict[str, float]:
    mean, error = mean_and_error(rewards)
    gain, gain_error = paired_gain(base, rewards)
    return {
        f"{key}/base": mean_and_error(base)[0],
        f"{key}/mean": mean,
        f"{key}/stderr": error,
        f"{key}/gain": gain,
        f"{key}/gain_stderr": gain_error,
    }
