"""Looking into batches and trajectories: their tensors by name, whether two are the same, what is filled and trained.

A tensor in a part goes by both names, as its reader writes it: "state_flow.here".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor

from dagsdk.objectives import parts
from dagsdk.objectives.parts import Needs, Parted
from dagsdk.objectives.protocol import Denoisings, Transitions
from dagsdk.objectives.trajectories import Trajectories, along

R = TypeVar("R", bound=Parted)

PARTS: Mapping[type[Parted], Mapping[Needs, tuple[str, type]]] = {
    Transitions: {
        Needs.STATE_FLOW: ("state_flow", parts.StateFlow),
        Needs.OLD: ("old", parts.Old),
        Needs.OLD_OUTPUT: ("old_output", parts.OldOutput),
        Needs.REFERENCE: ("reference", parts.Reference),
        Needs.SCORES: ("scores", parts.Scores),
        Needs.BACKWARD_SCORES: ("backward_scores", parts.BackwardScores),
        Needs.REWARD_GRADIENT: ("reward_gradient", parts.RewardGradient),
        Needs.FLOW_GRADIENT: ("flow_gradient", parts.FlowGradient),
    },
    Denoisings: {
        Needs.OLD_OUTPUT: ("output_old", Tensor),
        Needs.REFERENCE: ("output_reference", Tensor),
    },
    Trajectories: {
        Needs.REFERENCE_PATH: ("reference", parts.ReferencePath),
        Needs.STATE_FLOW_PATH: ("state_flow", parts.StateFlowPath),
    },
}
"""The parts that each kind of record may have: for each need, the part's name and its class."""

TRAINED: Mapping[type[Parted], tuple[str, ...]] = {
    Transitions: (
        "log_pf",
        "state_flow.here",
        "state_flow.next",
        "old_output.gap",
        "reference.kl",
        "reference.gap",
        "scores.next",
        "flow_gradient.here",
        "flow_gradient.next",
    ),
    Denoisings: ("output",),
}
"""The tensors of each kind of batch through which a network is trained."""


def filled_by(kind: type[Parted], need: Needs) -> tuple[str, ...]:
    """Names of the tensors that a need fills in this kind of record; () where it fills none."""
    if need not in PARTS[kind]:
        return ()
    name, part = PARTS[kind][need]
    return tuple(f"{name}.{field.name}" for field in attrs.fields(part)) if attrs.has(part) else (name,)


def undeclared(kind: type[Parted], needs: Collection[Needs]) -> frozenset[str]:
    """Names of the tensors that only other needs than these fill."""
    return frozenset(name for need in Needs if need not in needs for name in filled_by(kind, need))


def only(record: R, needs: Collection[Needs]) -> R:
    """The record with the parts that these needs fill, and no other."""
    return attrs.evolve(record, parts={need: part for need, part in record.parts.items() if need in needs})


def with_leaves(record: R, names: Collection[str]) -> R:
    """A copy whose tensors of these names are leaves with a gradient, as far as they are filled, and no others."""
    copy: R = along(lambda value: value.detach().clone() if isinstance(value, Tensor) else value, record)
    for name in tensors(copy).keys() & set(names):
        attrgetter(name)(copy).requires_grad_()
    return copy


def tensors(record: Any) -> dict[str, Tensor]:
    """Copies of the tensors of a record and of its parts, by name."""
    return {name: value.detach().clone() for name, value in _named(record)}


def _named(record: Any, prefix: str = "") -> Iterable[tuple[str, Tensor]]:
    if isinstance(record, Tensor):
        yield prefix, record
        return
    before = f"{prefix}." if prefix else ""
    if isinstance(record, Mapping):
        for key, value in record.items():
            yield from _named(value, f"{before}{key}")
    elif attrs.has(type(record)):
        for field in attrs.fields(type(record)):
            if field.name != "parts":
                yield from _named(getattr(record, field.name), f"{before}{field.name}")
    if isinstance(record, Parted):
        names = PARTS[type(record)]
        yield from _named({names[need][0]: part for need, part in record.parts.items()}, prefix)


def changed(before: Mapping[str, Tensor], record: Any) -> list[str]:
    """Names of the tensors that are no longer what `tensors` gave."""
    return [name for name, tensor in tensors(record).items() if not same(tensor, before[name])]


def same(tree: Any, other: Any) -> bool:
    """Whether nested dicts, lists and tuples hold the same, tensors to the bit; a list is as good as a tuple."""
    match tree, other:
        case Tensor(), Tensor():
            alike = tree.dtype == other.dtype and tree.shape == other.shape
            return alike and torch.allclose(tree.detach(), other.detach(), rtol=0, atol=0, equal_nan=True)
        case Mapping(), Mapping():
            return tree.keys() == other.keys() and all(same(tree[key], other[key]) for key in tree)
        case ((list() | tuple()), (list() | tuple())):
            return len(tree) == len(other) and all(same(a, b) for a, b in zip(tree, other, strict=True))
        case _:
            return type(tree) is type(other) and bool(tree == other)


def finite(values: Iterable[Tensor | None]) -> bool:
    return all(bool(value.isfinite().all()) for value in values if value is not None)
