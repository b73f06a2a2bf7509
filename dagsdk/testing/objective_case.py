"""An objective under test, and the trajectories and transitions that it is tried with."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import torch
from attrs import define
from torch import Tensor

from dagsdk.objectives.protocol import Loss, Needs, Objective, Signals, Trajectories, Transitions
from dagsdk.specs import ObjectiveSpec
from dagsdk.testing.case import Case
from dagsdk.testing.check import require
from dagsdk.testing.trajectories import EVERYTHING, Sampled, tensors, trajectories, transitions


@define(eq=False, kw_only=True)
class ObjectiveCase(Case):
    """An objective, and the sizes of what it is tried with.

    prompts, images_per_prompt, steps: of the trajectories; b = prompts · images_per_prompt, T = steps.
    epochs: of a run, at least four.
    transitions: n of a batch.
    tolerance: how far losses may differ in another order, relative to the largest.
    """

    spec: ObjectiveSpec[Any]
    prompts: int = 4
    images_per_prompt: int = 3
    steps: int = 5
    epochs: int = 10
    transitions: int = 32
    tolerance: float = 1e-4

    def seen(self, epoch: int | None = None, *, large: bool = False) -> Sampled:
        """What an epoch sampled, by default a middle one; the prompts are the same in every epoch."""
        epoch = self.epochs // 2 if epoch is None else epoch
        return trajectories(
            self.prompts,
            self.images_per_prompt,
            steps=self.steps,
            seed=epoch,
            epoch=epoch,
            epochs=self.epochs,
            large=large,
            device=self.context.device,
        )

    def prepare(self, objective: Objective, seen: Trajectories) -> Signals:
        signals: Signals = objective.prepare(seen)
        require(
            isinstance(signals, Signals),
            f"{self.name}: prepare returned {type(signals).__name__}; it must return a `Signals`",
        )
        values = signals.values
        require(
            values is None
            or (isinstance(values, Tensor) and values.shape in (seen.scores.shape, seen.log_pf_old.shape)),
            f"{self.name}: prepare returned values of {shown(values)} for {len(seen.scores)} trajectories; it must "
            "be a tensor with one value each, or one for each of their transitions, or None",
        )
        return signals

    @cached_property
    def prepared(self) -> tuple[Objective, Signals]:
        """An objective that has seen one epoch, and what it made of it."""
        objective = self.build()
        return objective, self.prepare(objective, self.seen())

    def batch(self, needs: Collection[Needs] = EVERYTHING, n: int | None = None, **given: Any) -> Transitions:
        """Transitions of the epoch that `prepared` has seen, made anew; by default with every field filled."""
        return transitions(
            needs,
            self.transitions if n is None else n,
            **{"of": self.seen(), "signals": self.prepared[1], **given},
        )

    def loss(self, batch: Transitions, objective: Objective | None = None) -> Loss:
        loss: Loss = (objective or self.prepared[0]).loss(batch)
        require(
            isinstance(loss, Loss) and isinstance(loss.values, Tensor),
            f"{self.name}: loss returned {type(loss).__name__}; it must return a `Loss` of a tensor",
        )
        return loss


def shown(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"


def gradients(loss: Loss, batch: Transitions) -> dict[str, Tensor]:
    """The gradient of the summed losses in every leaf that it reaches."""
    leaves = {name: getattr(batch, name) for name in tensors(batch) if getattr(batch, name).requires_grad}
    if not loss.values.requires_grad:
        return {}
    found = torch.autograd.grad(loss.values.sum(), list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
