"""The best images of each prompt so far, to be trained on again from another direction: backwards from the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dagsdk.engine.trajectory import Ends
from dagsdk.prompts.protocol import Prompt

KEPT = ("terminal", "clean", "scores")


class Replay:
    """At most `capacity` images a prompt's text, those of the highest scores; among equals those found first."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.best: dict[str, dict[str, Tensor]] = {}

    def add(self, prompts: Sequence[Prompt], terminal: Tensor, clean: Tensor, scores: Tensor) -> None:
        """b images of all processes: terminal states and clean ones of shape (b, *latent), scores of shape (b,)."""
        rows: dict[str, list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows.setdefault(prompt.text, []).append(row)
        found = dict(zip(KEPT, (terminal, clean, scores), strict=True))
        for text, own in rows.items():
            new = {name: tensor[own] for name, tensor in found.items()}
            old = self.best.get(text)
            every = new if old is None else {name: torch.cat([old[name], new[name]]) for name in KEPT}
            order = every["scores"].argsort(descending=True, stable=True)[: self.capacity]
            self.best[text] = {name: tensor[order] for name, tensor in every.items()}

    def draw(self, count: int, prompts: Sequence[Prompt], group: Tensor, draws: torch.Generator) -> Ends:
        """`count` images, drawn evenly from those kept of these prompts, each of which has had one added.

        prompts, group: of the epoch's trajectories; an image has the group of its prompt's first.
        draws: a CPU generator.
        """
        first: dict[str, int] = {}
        for row, prompt in enumerate(prompts):
            first.setdefault(prompt.text, row)
        owner = torch.tensor([row for text, row in first.items() for _ in self.best[text]["scores"]])
        chosen = torch.randint(len(owner), (count,), generator=draws)
        rows = owner[chosen].to(group.device)
        kept = {name: torch.cat([self.best[text][name] for text in first])[chosen.to(group.device)] for name in KEPT}
        return Ends(
            prompts=tuple(prompts[row] for row in rows.tolist()),
            group=group[rows],
            branch=len(prompts) + torch.arange(count, device=group.device),
            **kept,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"texts": list(self.best), "best": [dict(kept) for kept in self.best.values()]}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        self.best = {
            text: {name: kept[name].to(device) for name in KEPT}
            for text, kept in zip(state["texts"], state["best"], strict=True)
        }
