"""Trajectories and transitions that no network made: what objectives and rollouts are tried with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
import torch
from attrs import evolve, frozen
from torch import Tensor

from dagsdk.objectives.protocol import Needs, Signals, Transitions
from dagsdk.prompts.protocol import Prompt
from dagsdk.testing.samples import PROMPTS

FILLED: Mapping[Needs, tuple[str, ...]] = {
    Needs.FLOW: ("log_flow", "log_flow_next"),
    Needs.FORWARD_LOOKING: (),
    Needs.OLD_LOG_PROB: ("log_pf_old",),
    Needs.OUTPUT_GAP: ("output_gap",),
    Needs.REFERENCE: ("reference_gap", "reference_kl", "log_pf_reference"),
    Needs.REFERENCE_PATH: (),
    Needs.REWARD_GRADIENT: ("reward_gradient", "reward_gradient_next", "signal_level", "signal_level_next"),
    Needs.SCORES: ("score_next", "score_next_reference"),
    Needs.BACKWARD_SCORES: ("score", "score_reference"),
    Needs.RESIDUAL: ("residual", "residual_next"),
    Needs.FLOW_PATH: (),
    Needs.GROUPS: (),
}
"""The fields of `Transitions` that are filled for each need; the others always are."""

TRAINED = (
    "log_pf",
    "log_flow",
    "log_flow_next",
    "output_gap",
    "reference_gap",
    "reference_kl",
    "score_next",
    "residual",
    "residual_next",
)
"""The fields of `Transitions` through which a network is trained."""

EVERYTHING = frozenset(Needs)
OF_STATES = (
    "reward_gradient",
    "reward_gradient_next",
    "score_next",
    "score_next_reference",
    "score",
    "score_reference",
    "residual",
    "residual_next",
)
"""The fields of `Transitions` of shape (n, *latent)."""
LATENT = (4, 2, 2)
LARGE = 1e4  # far more than a log-density a dimension, or β times a reward, comes to
FAR = 50.0  # how far a log-density moves at most: exp(50) is 5e21, which float32 holds, unlike its square


@frozen(kw_only=True, eq=False)
class Sampled:
    """b trajectories of T transitions, as `prepare` and `select` see them (`Trajectories`)."""

    prompts: tuple[Prompt, ...]
    group: Tensor
    branch: Tensor
    scores: Tensor
    log_prior: Tensor
    log_pf_old: Tensor
    log_pb: Tensor
    log_pf_reference: Tensor
    log_flow: Tensor
    potential: Tensor
    epoch: int = 0
    epochs: int = 10

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Tensor) -> Sampled:
        """The trajectories `rows`, of shape (m,), int64, in that order."""
        taken: dict[str, Any] = {name: tensor[rows.to(tensor.device)] for name, tensor in tensors(self).items()}
        return evolve(self, prompts=tuple(self.prompts[row] for row in rows.tolist()), **taken)


def trajectories(
    prompts: int = 4,
    images_per_prompt: int = 3,
    branches: int = 1,
    branch_step: int = 0,
    steps: int = 5,
    seed: int = 0,
    *,
    epoch: int = 0,
    epochs: int = 10,
    large: bool = False,
    device: str = "cpu",
) -> Sampled:
    """Trajectories in the sampler's order: those of a prompt, and those of a branch, are neighbours.

    No two scores are alike. Log-densities are about 1, as under the mean reduction.

    large: log-densities of up to ±1e4 and scores of about ±100 instead.
    """
    generator = torch.Generator().manual_seed(seed)
    b = prompts * images_per_prompt * branches
    branch = torch.arange(b) // branches
    log_pf = 1 + 0.3 * torch.randn(b, steps, generator=generator)
    log_pb = log_pf + 0.1 * torch.randn(b, steps, generator=generator)
    scores = torch.randn(b, generator=generator)
    log_prior = -1.4 + 0.1 * torch.randn(b, generator=generator)
    log_reference = log_pf + 0.05 * torch.randn(b, steps, generator=generator)
    if large:
        log_pf, log_pb = (_large(b, steps, generator=generator) for _ in range(2))
        scores, log_reference = 100 * scores, log_pf + log_reference
    log_flow = (LARGE if large else 1) * torch.randn(b, steps, generator=generator)
    potential = (100 if large else 1) * torch.randn(b, steps, generator=generator)
    for shared in (log_pf, log_pb, log_reference, log_flow, potential):  # what a branch shares
        shared[:, :branch_step] = shared[branch * branches, :branch_step]
    log_prior = log_prior[branch * branches] if branch_step else log_prior
    texts = [PROMPTS[i % len(PROMPTS)].text + (f" {i}" if i >= len(PROMPTS) else "") for i in range(prompts)]
    group = branch // images_per_prompt
    return Sampled(
        prompts=tuple(Prompt(texts[i]) for i in group.tolist()),
        group=group.to(device),
        branch=branch.to(device),
        scores=scores.to(device),
        log_prior=log_prior.to(device),
        log_pf_old=log_pf.to(device),
        log_pb=log_pb.to(device),
        log_pf_reference=log_reference.to(device),
        log_flow=torch.cat([log_flow, torch.zeros(b, 1)], 1).to(device),
        potential=torch.cat([potential, scores[:, None]], 1).to(device),
        epoch=epoch,
        epochs=epochs,
    )


def transitions(
    needs: Collection[Needs] = EVERYTHING,
    n: int = 32,
    seed: int = 0,
    *,
    of: Sampled | None = None,
    signals: Signals | None = None,
    moved: float = 0.01,
    large: bool = False,
    leaves: Collection[str] = TRAINED,
) -> Transitions:
    """n transitions of trajectories, with the fields that the needs fill; what a field holds depends on no need.

    moved: by how much log p_F of every second transition or so differs from that at sampling, at most; the others
        did not move. The network's outputs moved with it, and the reference is as far away.
    large: log-densities, flows, β r(x_0) and reward gradients of up to ±1e4, and every transition moved.
    leaves: fields that are leaves with a gradient, where they are filled.
    """
    of = trajectories(seed=seed, large=large) if of is None else of
    signals = signals or Signals()
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randint(len(of), (n,), generator=generator)
    step = torch.randint(of.log_pb.shape[1], (n,), generator=generator)
    drawn = [_large(n, generator=generator) if large else torch.randn(n, generator=generator) for _ in range(3)]
    went = [moved * (2 * torch.rand(n, generator=generator) - 1) for _ in range(2)]
    if not large:
        went[0] = went[0] * (torch.rand(n, generator=generator) < 0.5)
    of_states = {
        name: (torch.randn(n, *LATENT, generator=generator) * (LARGE if large else 1)).to(of.scores.device)
        for name in OF_STATES
    }
    signal_level = torch.rand(n, generator=generator).to(of.scores.device)
    device = of.scores.device
    sample, step = sample.to(device), step.to(device)
    log_flow, log_flow_next, other_reward = (tensor.to(device) for tensor in drawn)
    drift, away = (tensor.to(device) for tensor in went)
    is_last = step == of.log_pb.shape[1] - 1
    old = of.log_pf_old[sample, step]
    log_reward = other_reward if large else signals.beta * of.scores[sample]
    values = {
        "log_pf": old + drift,
        "log_pb": of.log_pb[sample, step],
        "log_reward": log_reward,
        "is_last": is_last,
        "step": step,
        "signal": _signal(signals, sample, step),
        "log_flow": log_flow,
        "log_flow_next": torch.where(is_last, log_reward, log_flow_next),
        "log_pf_old": old,
        "output_gap": drift.square(),
        "reference_gap": away.square(),
        "reference_kl": away.square() / 2,
        "log_pf_reference": old + drift + away,
        "signal_level": signal_level,
        "signal_level_next": signal_level.sqrt(),
        **of_states,
    }
    unfilled = undeclared(needs)
    return Transitions(
        **{
            name: tensor.detach().clone().requires_grad_(name in leaves)
            for name, tensor in values.items()
            if name not in unfilled
        }
    )


def _signal(signals: Signals, sample: Tensor, step: Tensor) -> Tensor:
    values = signals.values
    if values is None:
        return torch.zeros(len(sample), device=sample.device)
    return values[sample] if values.ndim == 1 else values[sample, step]


def undeclared(needs: Collection[Needs]) -> frozenset[str]:
    """Fields of `Transitions` that these needs leave None."""
    return frozenset(name for need, names in FILLED.items() if need not in needs for name in names)


def tensors(record: Any) -> dict[str, Tensor]:
    """Copies of the tensors of an attrs instance, by field."""
    found = ((field.name, getattr(record, field.name)) for field in attrs.fields(type(record)))
    return {name: value.detach().clone() for name, value in found if isinstance(value, Tensor)}


def changed(before: Mapping[str, Tensor], record: Any) -> list[str]:
    """Fields whose tensor is no longer what `tensors` gave."""
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


def _large(*shape: int, generator: torch.Generator) -> Tensor:
    """Values of up to ±1e4; every third or so is one or the other."""
    return LARGE * torch.randn(*shape, generator=generator).clamp(-1, 1)
