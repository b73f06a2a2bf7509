"""The evaluation inside a run: the same prompts and seeds before training, now and then, and after."""

from __future__ import annotations

from attrs import field, frozen

from dagsdk.config.schema import EvaluateConfig
from dagsdk.engine.sampler import Sampler
from dagsdk.evaluation.pictures import save_grid
from dagsdk.evaluation.scores import fixed_prompts, mean_and_error, paired_gain, score_fixed
from dagsdk.prompts.protocol import PromptSet
from dagsdk.rewards.mixture import Mixture
from dagsdk.run_folder import RunFolder

SHOWN = 32
"""Images in a grid."""


@frozen(eq=False, kw_only=True)
class HeldOut:
    """Scores fixed prompts and seeds, and keeps scores and pictures in the run folder.

    writes: whether this process does the keeping.
    """

    config: EvaluateConfig
    prompts: PromptSet
    reward: Mixture
    folder: RunFolder
    writes: bool = field(default=True)

    def scores(self, sampler: Sampler, name: str) -> list[float]:
        """Scores of what the sampler draws; written to evaluation/NAME.json and NAME.png."""
        prompts = fixed_prompts(self.prompts, self.config.samples)
        seeds = [self.config.seed + i for i in range(self.config.samples)]
        result = score_fixed(sampler, self.reward, prompts, seeds)
        scores: list[float] = result.scores.tolist()
        if self.writes:
            captions = [prompt.text for prompt in prompts]
            save_grid(result.images[:SHOWN], self.folder.path / "evaluation" / f"{name}.png", captions[:SHOWN])
            self.folder.write_scores(name, scores, captions, seeds)
        return scores

    def base(self, sampler: Sampler, *, known: bool) -> list[float]:
        """Scores of the model before training. known: the run has gone on from them, and the folder has them."""
        return (known and self.folder.read_scores("base")) or self.scores(sampler, "base")

    def figures(self, sampler: Sampler, base: list[float], name: str) -> dict[str, float]:
        """Mean reward of the sampler, and the gain over the base model, paired image by image."""
        scores = self.scores(sampler, name)
        mean, error = mean_and_error(scores)
        gain, gain_error = paired_gain(base, scores)
        return {
            "evaluate/base": mean_and_error(base)[0],
            "evaluate/mean": mean,
            "evaluate/stderr": error,
            "evaluate/gain": gain,
            "evaluate/gain_stderr": gain_error,
        }
