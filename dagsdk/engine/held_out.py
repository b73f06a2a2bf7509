"""The evaluation inside a run: the same prompts and seeds before training, now and then, and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attrs import field, frozen

from dagsdk.config.schema import EvaluateConfig
from dagsdk.engine.sampler import Sampler
from dagsdk.evaluation.pictures import save_grid
from dagsdk.evaluation.scores import fixed_prompts, mean_and_error, paired_gain, score_fixed
from dagsdk.prompts.protocol import PromptSet
from dagsdk.rewards.mixture import Mixture
from dagsdk.rewards.normalisation import Scale
from dagsdk.run_folder import RunFolder

SHOWN = 32
"""Images in a grid."""

ScoresByReward = Mapping[str, Sequence[float]]
"""One score an image, by reward, without weights."""


@frozen(eq=False, kw_only=True)
class HeldOut:
    """Scores fixed prompts and seeds, and keeps scores and pictures in the run folder.

    standardised: rewards whose scores are taken relative to the base model's mean and standard deviation, as those
        are that training puts on a scale.
    writes: whether this process does the keeping.
    """

    config: EvaluateConfig
    prompts: PromptSet
    reward: Mixture
    folder: RunFolder
    standardised: frozenset[str] = frozenset()
    writes: bool = field(default=True)

    def scores(self, sampler: Sampler, name: str) -> ScoresByReward:
        """Scores of what the sampler draws; written to evaluation/NAME.json and NAME.png."""
        prompts = fixed_prompts(self.prompts, self.config.samples)
        seeds = [self.config.seed + i for i in range(self.config.samples)]
        result = score_fixed(sampler, self.reward, prompts, seeds)
        scores = {reward: values.tolist() for reward, values in result.scores.items()}
        if self.writes:
            captions = [prompt.text for prompt in prompts]
            save_grid(result.images[:SHOWN], self.folder.path / "evaluation" / f"{name}.png", captions[:SHOWN])
            self.folder.write_scores(name, scores, captions, seeds)
        return scores

    def base(self, sampler: Sampler, *, known: bool) -> ScoresByReward:
        """Scores of the model before training. known: the run has gone on from them, and the folder has them."""
        return (known and self.folder.read_scores("base")) or self.scores(sampler, "base")

    def figures(self, sampler: Sampler, base: ScoresByReward, name: str) -> dict[str, float]:
        """Mean reward of the sampler, and the gain over the base model, paired image by image; by reward, too."""
        scores = self.scores(sampler, name)
        found = _compared("evaluate", self._combined(base, base), self._combined(scores, base))
        if len(scores) > 1:
            for reward in scores:
                found |= _compared(f"evaluate/{reward}", base[reward], scores[reward])
        return found

    def _combined(self, scores: ScoresByReward, base: ScoresByReward) -> list[float]:
        """The weighted sum, image by image."""
        scales = {}
        for name in self.standardised:
            before = torch.tensor(base[name], dtype=torch.float64)
            spread = before.std(correction=0)
            scales[name] = Scale(before.mean(), spread if spread > 0 else torch.ones(()))
        tensors = {name: torch.tensor(values, dtype=torch.float64) for name, values in scores.items()}
        combined: list[float] = self.reward.combine(tensors, scales).tolist()
        return combined


def _compared(key: str, base: Sequence[float], scores: Sequence[float]) -> dict[str, float]:
    mean, error = mean_and_error(scores)
    gain, gain_error = paired_gain(base, scores)
    return {
        f"{key}/base": mean_and_error(base)[0],
        f"{key}/mean": mean,
        f"{key}/stderr": error,
        f"{key}/gain": gain,
        f"{key}/gain_stderr": gain_error,
    }
