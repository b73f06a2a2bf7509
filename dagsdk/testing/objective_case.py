"""An objective under test, and the trajectories and batches that it is tested with."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from attrs import define
from torch import Tensor

from dagsdk.objectives.parts import Needs
from dagsdk.objectives.protocol import Denoisings, Loss, Objective, Signals, Transitions
from dagsdk.objectives.trajectories import Trajectories
from dagsdk.specs import ObjectiveSpec
from dagsdk.testing.case import Case
from dagsdk.testing.check import require
from dagsdk.testing.records import tensors
from dagsdk.testing.trajectories import EVERYTHING, denoisings, trajectories, transitions


@define(eq=False, kw_only=True)
class ObjectiveCase(Case):
    """An objective, and the sizes of what it is tested with.

    prompts, images_per_prompt, steps: of the trajectories; b = prompts · images_per_prompt, T = steps. Those of an
        objective on the forward process have no steps.
    epochs: of a run, at least four.
    rows: n of a batch.
    tolerance: how far losses may differ in another order, relative to the largest.
    """

    spec: ObjectiveSpec[Any]
    prompts: int = 4
    images_per_prompt: int = 3
    steps: int = 5
    epochs: int = 10
    rows: int = 32
    tolerance: float = 1e-4

    @property
    def kind(self) -> type[Transitions] | type[Denoisings]:
        """The batches that its loss receives."""
        return Transitions if self.spec.batches == "transitions" else Denoisings

    @property
    def row(self) -> str:
        """What a row of a batch is called."""
        return "transition" if self.kind is Transitions else "noised image"

    @cached_property
    def needs(self) -> frozenset[Needs]:
        """What its record needs with these options."""
        return self.spec.needs_of(self.structured)

    def trajectories(
        self, epoch: int | None = None, *, needs: Collection[Needs] = EVERYTHING, large: bool = False
    ) -> Trajectories:
        """What an epoch sampled, by default a middle one; the prompts are the same in every epoch."""
        epoch = self.epochs // 2 if epoch is None else epoch
        return trajectories(
            self.prompts,
            self.images_per_prompt,
            steps=self.steps if self.kind is Transitions else 0,
            seed=epoch,
            needs=needs,
            epoch=epoch,
            epochs=self.epochs,
            large=large,
            device=self.context.device,
        )

    def prepare(self, objective: Objective, sampled: Trajectories) -> Signals:
        signals: Signals = objective.prepare(sampled)
        require(
            isinstance(signals, Signals),
            f"{self.name}: prepare returned {type(signals).__name__}; it must return a `Signals`",
        )
        shapes = [tuple(sampled.rewards.shape)]
        if self.kind is Transitions:
            shapes.append(tuple(sampled.log_pf_old.shape))
        values = signals.values
        require(
            values is None or (isinstance(values, Tensor) and tuple(values.shape) in shapes),
            f"{self.name}: prepare returned values of {shown(values)} for {len(sampled)} trajectories; they must be a "
            f"tensor of shape {' or '.join(map(str, shapes))}, or None",
        )
        return signals

    @cached_property
    def prepared(self) -> tuple[Objective, Signals]:
        """An objective after `prepare` of one epoch, and its signals."""
        objective: Objective = self.build()
        return objective, self.prepare(objective, self.trajectories())

    def batch(self, needs: Collection[Needs] = EVERYTHING, n: int | None = None, **given: Any) -> Any:
        """A new batch of the epoch of `prepared`; by default with every part filled."""
        make = transitions if self.kind is Transitions else denoisings
        given = {"of": self.trajectories(), "signals": self.prepared[1], **given}
        return make(needs, self.rows if n is None else n, **given)

    def loss(self, batch: Transitions | Denoisings, objective: Objective | None = None) -> Loss:
        loss: Loss = (objective or self.prepared[0]).loss(batch)
        require(
            isinstance(loss, Loss) and isinstance(loss.values, Tensor),
            f"{self.name}: loss returned {type(loss).__name__}; it must return a `Loss` whose values are a tensor",
        )
        return loss


def shown(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"type {type(value).__name__}"


def gradients(loss: Loss, batch: Transitions | Denoisings) -> dict[str, Tensor]:
    """The gradient of the summed losses in every leaf that it reaches, by the leaf's name."""
    leaves = {name: leaf for name in tensors(batch) if (leaf := attrgetter(name)(batch)).requires_grad}
    if not loss.values.requires_grad:
        return {}
    found = torch.autograd.grad(loss.values.sum(), list(leaves.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(leaves, found, strict=True) if gradient is not None}
