"""What a run reports while it goes: records, in the order in which things happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from torch import Tensor


@frozen(kw_only=True, eq=False)
class EpochEvent:
    """An epoch is trained. metrics: its line of metrics.jsonl."""

    epoch: int
    metrics: Mapping[str, Any]


@frozen(kw_only=True, eq=False)
class ImagesEvent:
    """Some of an epoch's images, as they were trained on.

    images: shape (n, 3, h, w), float32 in [0, 1], on the CPU; at most 32 (for plain vectors: shape (n, d)).
    prompts: n texts. rewards: raw, by name, n each.
    """

    epoch: int
    images: Tensor
    prompts: Sequence[str]
    rewards: Mapping[str, Sequence[float]]


@frozen(kw_only=True, eq=False)
class EvaluationEvent:
    """Fixed prompts and seeds were evaluated; epoch 0 is the model before training.

    images, prompts, rewards: as in `ImagesEvent`, of all the evaluation's images. metrics: the gain over epoch 0.
    """

    epoch: int
    images: Tensor
    prompts: Sequence[str]
    rewards: Mapping[str, Sequence[float]]
    metrics: Mapping[str, float]


@frozen(kw_only=True, eq=False)
class CheckpointEvent:
    """A checkpoint was written to `path`."""

    epoch: int
    path: Path


@frozen(kw_only=True, eq=False)
class WarningEvent:
    """Something that may not be meant."""

    message: str


@frozen(kw_only=True, eq=False)
class FinishedEvent:
    """The run is over. stopped: before all of its epochs were trained, on request."""

    epoch: int
    stopped: bool


Event = EpochEvent | ImagesEvent | EvaluationEvent | CheckpointEvent | WarningEvent | FinishedEvent
