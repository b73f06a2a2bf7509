"""Which prompts an epoch samples images of, and from which seeds."""

from __future__ import annotations

from attrs import field, frozen

from dagsdk.config.schema import RunConfig
from dagsdk.engine.processes import Processes
from dagsdk.engine.seeds import TRAJECTORY, derived
from dagsdk.errors import ConfigError
from dagsdk.prompts.protocol import Prompt, PromptSet
from dagsdk.prompts.sampling import PromptSampler, shard
from dagsdk.rollouts.protocol import RolloutPlan


@frozen(eq=False, kw_only=True)
class Drawn:
    """What one process samples: a prompt and a seed per trajectory.

    first: number of the first trajectory among those of all processes, which groups are counted from.
    epoch, epochs: e, counted from 0, and E.
    """

    prompts: tuple[Prompt, ...] = field(converter=tuple[Prompt, ...])
    seeds: tuple[int, ...] = field(converter=tuple[int, ...])
    first: int = 0
    epoch: int = 0
    epochs: int = 1

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: slice) -> Drawn:
        return Drawn(
            prompts=self.prompts[rows],
            seeds=self.seeds[rows],
            first=self.first + (rows.start or 0),
            epoch=self.epoch,
            epochs=self.epochs,
        )


class PromptDraws:
    """Draws each epoch's prompts: the same ones whatever the number of processes.

    compared: whether rewards are normalised within a prompt.
    """

    def __init__(self, prompts: PromptSet, config: RunConfig, processes: Processes, *, compared: bool) -> None:
        self.sampler = PromptSampler(prompts, config.seed)
        self._prompts, self._config, self._processes, self._compared = prompts, config, processes, compared

    def draw(self, plan: RolloutPlan, epoch: int) -> Drawn:
        """This process's part. Raises ConfigError where the epoch cannot be divided as the plan asks."""
        train, processes = self._config.train, self._processes
        copies = plan.images_per_prompt * plan.branches
        self._check(copies)
        indices = self.sampler.take(train.trajectories // copies)
        everyone = [self._prompts[i] for i in indices for _ in range(copies)]
        mine = shard(range(len(everyone)), processes.index, processes.count)
        return Drawn(
            prompts=[everyone[i] for i in mine],
            seeds=[derived(self._config.seed, TRAJECTORY, epoch, i) for i in mine],
            first=mine[0],
            epoch=epoch,
            epochs=train.epochs,
        )

    def _check(self, copies: int) -> None:
        trajectories, count = self._config.train.trajectories, self._processes.count
        if copies == 1 and self._compared:
            rule = 'rewards: normalise = "prompt" compares the images of a prompt, and the rollout has one per prompt'
            raise ConfigError("run", [f'{rule}; set rollout.images_per_prompt >= 2, or normalise = "running"'])
        if trajectories % (copies * count):
            rule = f"{count} processes with {copies} images per prompt; set a multiple of {copies * count}"
            raise ConfigError("run", [f"train.trajectories: {trajectories} cannot be divided into {rule}"])
        if (replayed := self._config.replay.trajectories) % count:
            rule = f"{count} processes; set a multiple of {count}"
            raise ConfigError("run", [f"replay.trajectories: {replayed} cannot be divided into {rule}"])
