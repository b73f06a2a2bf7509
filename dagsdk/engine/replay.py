"""The best images of each prompt so far, trained on again from the other direction: backwards from the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dagsdk.config.schema import ReplayConfig
from dagsdk.engine.processes import Processes
from dagsdk.engine.sampler import Sampler
from dagsdk.engine.seeds import REPLAY, derived, generator
from dagsdk.objectives.trajectories import Latents, Trajectories, joined
from dagsdk.prompts.protocol import Prompt
from dagsdk.prompts.sampling import shard

Rows = dict[str, Tensor]
"""Tensors with one row per image: "terminal", "clean", "rewards", and "raw/NAME" per reward."""


class Best:
    """At most `capacity` images per prompt text, those of the highest rewards; among equals those found first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.rows: dict[str, Rows] = {}

    def add(self, prompts: Sequence[Prompt], found: Rows) -> None:
        """b images of all processes."""
        places: dict[str, list[int]] = {}
        for place, prompt in enumerate(prompts):
            places.setdefault(prompt.text, []).append(place)
        for text, own in places.items():
            new = {name: tensor[own] for name, tensor in found.items()}
            old = self.rows.get(text)
            every = new if old is None else {name: torch.cat([old[name], new[name]]) for name in new}
            order = every["rewards"].argsort(descending=True, stable=True)[: self.capacity]
            self.rows[text] = {name: tensor[order] for name, tensor in every.items()}

    def draw(self, count: int, prompts: Sequence[Prompt], draws: torch.Generator) -> tuple[Tensor, Rows]:
        """`count` images, drawn evenly from those kept of these prompts, each of which has had one added.

        Returns the row in `prompts` of the first prompt with each image's text, shape (count,), and the images.
        draws: a CPU generator.
        """
        first: dict[str, int] = {}
        for row, prompt in enumerate(prompts):
            first.setdefault(prompt.text, row)
        owner = torch.tensor([row for text, row in first.items() for _ in self.rows[text]["rewards"]])
        chosen = torch.randint(len(owner), (count,), generator=draws)
        names = self.rows[next(iter(first))]
        kept = {name: torch.cat([self.rows[text][name] for text in first]) for name in names}
        return owner[chosen], {name: tensor[chosen.to(tensor.device)] for name, tensor in kept.items()}


class Replay:
    """Adds replayed trajectories to an epoch's own ([replay] of the run file)."""

    def __init__(self, config: ReplayConfig, sampler: Sampler, processes: Processes, seed: int) -> None:
        self.best = Best(config.capacity)
        self._sampler, self._processes, self._seed = sampler, processes, seed
        self.count = config.trajectories // processes.count

    def extend(self, sampled: Trajectories) -> Trajectories:
        """The sampled trajectories, and after them those led back to noise from the best images so far.

        Replayed ones are marked as such. They have the group of their prompt's first image, and a branch of their own.
        """
        if not self.count:
            return sampled
        everyone = self._processes.gather(sampled)
        latents, rows = sampled.latents, self._processes.gather_rows
        raw = {f"raw/{name}": values for name, values in everyone.raw_rewards.items()}
        found = {"terminal": rows(sampled.states[:, -1].contiguous()), "clean": rows(latents.clean)}
        self.best.add(everyone.prompts, {**found, "rewards": everyone.rewards, **raw})
        total = self.count * self._processes.count
        draws = generator(derived(self._seed, REPLAY, sampled.epoch))
        owner, images = self.best.draw(total, everyone.prompts, draws)
        mine = shard(range(total), self._processes.index, self._processes.count)
        seeds = [derived(self._seed, REPLAY, sampled.epoch, i) for i in mine]
        again = self._images(owner, images, everyone).part(slice(mine[0], mine[-1] + 1))
        terminal = images["terminal"][mine[0] : mine[-1] + 1]
        return joined([sampled, self._sampler.retrace(again, terminal, seeds)])

    def _images(self, owner: Tensor, images: Rows, everyone: Trajectories) -> Trajectories:
        """The drawn images as trajectories without a path."""
        none = everyone.rewards.new_zeros(len(owner), 0)
        rows = owner.to(everyone.group.device)
        return Trajectories(
            prompts=tuple(everyone.prompts[row] for row in owner.tolist()),
            group=everyone.group[rows],
            branch=len(everyone) + torch.arange(len(owner), device=rows.device),
            replayed=torch.ones_like(rows, dtype=torch.bool),
            rewards=images["rewards"],
            raw_rewards={name.removeprefix("raw/"): v for name, v in images.items() if name.startswith("raw/")},
            log_prior=none[:, :0].sum(1),
            log_pf_old=none,
            log_pb=none,
            epoch=everyone.epoch,
            epochs=everyone.epochs,
            latents=Latents(conditioning={}, clean=images["clean"]),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"texts": list(self.best.rows), "best": [dict(kept) for kept in self.best.rows.values()]}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.best.rows = {
            text: {name: tensor.to(device) for name, tensor in kept.items()}
            for text, kept in zip(state["texts"], state["best"], strict=True)
        }
