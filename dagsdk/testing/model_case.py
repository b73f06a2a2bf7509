"""A model under test, and the states, times and texts that it is tried with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import torch
from attrs import define
from torch import Tensor, nn

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.lora import Adapter
from dagsdk.engine.seeds import generator, global_seed
from dagsdk.families.conditioning import Conditioning, take
from dagsdk.families.protocol import Family
from dagsdk.specs import ModelSpec
from dagsdk.testing import samples
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, require

LORA = LoraConfig(rank=2)
"""The adapter that models are tried with."""
BESIDE = ("flow", "residual")
"""The networks that are trained beside a model's own: what its verbs are called before `_network`."""


@define(eq=False, kw_only=True)
class ModelCase(Case):
    """A model, and what it is tried with: n states, each with a time of the chain and a text of its own.

    steps: transitions of the chain.
    texts: n of them, at least two, not all alike.
    widths: of the blocks of the networks beside it.
    tolerance: how far results for one row may differ, absolutely and relatively, when it comes in other company.
    """

    spec: ModelSpec[Any]
    steps: int = 4
    texts: Sequence[str] = tuple(prompt.text for prompt in samples.PROMPTS)
    widths: Sequence[int] = (8, 16)
    tolerance: float = 1e-4

    @property
    def device(self) -> torch.device:
        return torch.empty(0, device=self.context.device).device

    def autocast(self) -> AbstractContextManager[object]:
        """The mixed precision that the engine calls networks under."""
        mixed = self.context.mixed_precision != "no"
        return torch.autocast(self.device.type, self.context.dtype if mixed else None, enabled=mixed)

    def normal(self, shape: Sequence[int], seed: int) -> Tensor:
        """Standard normal noise, float32, on the device."""
        return torch.randn(*shape, generator=generator(seed)).to(self.device)

    @cached_property
    def conditioning(self) -> Conditioning:
        """Of the texts."""
        conditioning: Conditioning = self.built.encode(list(self.texts))
        return conditioning

    @cached_property
    def states(self) -> Tensor:
        """States x_t, and clean latents as well: shape (n, *latent_shape), float32."""
        return self.normal((len(self.texts), *self.built.latent_shape), seed=1)

    @cached_property
    def t(self) -> Tensor:
        """Times of the states: those of the chain in turn, without its clean end; shape (n,)."""
        times: Tensor = self.built.times(self.steps)[:-1]
        return times[torch.arange(len(self.texts)) % len(times)].to(self.device)

    def rows(self, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Conditioning]:
        """Copies of the states, times and conditioning of these rows, as networks are given them."""
        chosen = torch.arange(len(self.texts), device=self.device)[index]
        return self.states[chosen], self.t[chosen], take(self.conditioning, chosen)

    def predict(self, index: Tensor | slice = slice(None), family: Family | None = None) -> Tensor:
        """Predictions of these rows, by the shared model unless another is given."""
        with self.autocast():
            return tensor(self, "predict", (family or self.built).predict(*self.rows(index)))

    @cached_property
    def output(self) -> Tensor:
        """Predictions of all rows, without gradient."""
        with torch.no_grad():
            return self.predict()

    def decode(self, latents: Tensor | None = None) -> Tensor:
        """What rewards see of latents: of the states unless others are given."""
        return tensor(self, "decode", self.built.decode(self.states.clone() if latents is None else latents))

    @cached_property
    def pictures(self) -> Tensor:
        """The states decoded, without gradient."""
        with torch.no_grad():
            return self.decode()

    def new(self, name: str) -> nn.Module:
        """A new network of those beside the model's own."""
        network: nn.Module = getattr(self.built, f"{name}_network")(self.widths)
        return network

    @cached_property
    def beside(self) -> dict[str, nn.Module]:
        """Those networks with noisy weights, as those of new ones may be zero."""
        made = {}
        for name in BESIDE:
            with global_seed(2):
                made[name] = self.new(name).to(self.device)
            for seed, parameter in enumerate(made[name].parameters()):
                parameter.data += 0.1 * self.normal(parameter.shape, seed)
        return made

    def estimate(self, name: str, index: Tensor | slice = slice(None), network: nn.Module | None = None) -> Tensor:
        """What such a network, by default the noisy one, makes of these rows."""
        with self.autocast():
            return tensor(self, f"the {name} network", (network or self.beside[name])(*self.rows(index)))

    @cached_property
    def adapted(self) -> Adapted:
        """The model built anew, with an adapter attached; whoever trains it puts the weights back."""
        return Adapted(self)

    def close(self, one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and torch.allclose(
            one.detach().double(), other.detach().double(), rtol=self.tolerance, atol=self.tolerance
        )


class Adapted:
    """A model with a fresh adapter, and what it predicted before there was one."""

    def __init__(self, case: ModelCase) -> None:
        self.family: Family = case.build()
        with torch.no_grad():
            self.before = case.predict(family=self.family)
        self.adapter = Adapter(self.family, LORA, seed=0)


def company(case: ModelCase) -> Iterator[tuple[int, Tensor]]:
    """The first and the last row, each with indices that leave it in its place among other neighbours."""
    count = len(case.texts)
    for row in (0, count - 1):
        index = torch.arange(count, device=case.device).roll(1)
        index[row] = row
        yield row, index


def tensor(case: ModelCase, what: str, found: object) -> Tensor:
    if not isinstance(found, Tensor):
        raise ContractError(f"{case.name}: {what} returned {type(found).__name__}; it must return a torch.Tensor")
    return found


def require_finite(case: ModelCase, what: str, found: Tensor, hint: str) -> None:
    wrong = found[~found.isfinite()]
    require(wrong.numel() == 0, f"{case.name}: {what} has {wrong[:1].tolist()}; it must be finite: {hint}")


def require_gradient(case: ModelCase, what: str, result: Tensor, sources: Sequence[Tensor], hint: str) -> None:
    """Raises ContractError unless a gradient flows from the result to the sources, finite and not zero."""
    require(result.requires_grad, f"{case.name}: {what} has no gradient; {hint}")
    # Weighted by noise: the gradient of a plain sum is zero behind a normalisation.
    weighted = (result * case.normal(result.shape, seed=3)).sum()
    found = [g for g in torch.autograd.grad(weighted, sources, allow_unused=True) if g is not None]
    require(
        all(bool(g.isfinite().all()) for g in found) and any(bool(g.count_nonzero()) for g in found),
        f"{case.name}: the gradient of {what} is zero or not finite; {hint}",
    )
