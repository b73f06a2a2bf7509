"""A model under test, and the states, times and texts that it is tested with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any

import torch
from attrs import define
from torch import Tensor, nn

from dagsdk.config.schema import LoraConfig
from dagsdk.engine.adapter import Adapter
from dagsdk.engine.generators import global_seed
from dagsdk.engine.seeds import generator
from dagsdk.models.protocol import Model
from dagsdk.process.conditioning import Conditioning, take
from dagsdk.specs import ModelSpec
from dagsdk.testing import samples
from dagsdk.testing.case import Case
from dagsdk.testing.check import ContractError, require

LORA = LoraConfig(rank=2)
"""The adapter that models are tested with."""
AUXILIARY = ("state_flow", "flow_gradient")
"""The auxiliary networks: the names of the methods that make them, without `_network`."""


@define(eq=False, kw_only=True)
class ModelCase(Case):
    """A model, and what it is tested with: n states, each with a time of the chain and a text of its own.

    steps: transitions of the chain.
    texts: n of them, at least two, not all alike.
    widths: of the blocks of auxiliary networks.
    tolerance: how far results for one row may differ in another batch, absolutely and relatively.
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
        """The mixed precision that the engine calls networks with."""
        mixed = self.context.mixed_precision != "no"
        return torch.autocast(self.device.type, self.context.dtype if mixed else None, enabled=mixed)

    def normal(self, shape: Sequence[int], seed: int) -> Tensor:
        """Standard normal noise, float32, on the device."""
        return torch.randn(*shape, generator=generator(seed)).to(self.device)

    @cached_property
    def conditioning(self) -> Conditioning:
        """The conditioning of the texts."""
        conditioning: Conditioning = self.built.encode(list(self.texts))
        return conditioning

    @cached_property
    def states(self) -> Tensor:
        """States x_t, used as clean latents as well: shape (n, *latent_shape), float32."""
        return self.normal((len(self.texts), *self.built.latent_shape), seed=1)

    @cached_property
    def t(self) -> Tensor:
        """Times of the states: those of the chain in turn, without its clean end. Shape (n,)."""
        times: Tensor = self.built.times(self.steps)[:-1]
        return times[torch.arange(len(self.texts)) % len(times)].to(self.device)

    def rows(self, index: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Conditioning]:
        """Copies of the states, times and conditioning of these rows: the arguments of networks."""
        chosen = torch.arange(len(self.texts), device=self.device)[index]
        return self.states[chosen], self.t[chosen], take(self.conditioning, chosen)

    def predict(self, index: Tensor | slice = slice(None), model: Model | None = None) -> Tensor:
        """Predictions for these rows, by the shared model unless another is given."""
        with self.autocast():
            return tensor(self, "predict", (model or self.built).predict(*self.rows(index)))

    @cached_property
    def output(self) -> Tensor:
        """Predictions for all rows, without gradient."""
        with torch.no_grad():
            return self.predict()

    def decode(self, latents: Tensor | None = None) -> Tensor:
        """What rewards see of latents: of the states unless others are given."""
        return tensor(self, "decode", self.built.decode(self.states.clone() if latents is None else latents))

    @cached_property
    def images(self) -> Tensor:
        """The states decoded, without gradient."""
        with torch.no_grad():
            return self.decode()

    def new(self, name: str) -> nn.Module:
        """A new auxiliary network of this name."""
        network: nn.Module = getattr(self.built, f"{name}_network")(self.widths)
        return network

    @cached_property
    def auxiliary(self) -> dict[str, nn.Module]:
        """The auxiliary networks with noisy weights, since a new one may return zeros."""
        made = {}
        for name in AUXILIARY:
            with global_seed(2):
                made[name] = self.new(name).to(self.device)
            for seed, parameter in enumerate(made[name].parameters()):
                parameter.data += 0.1 * self.normal(parameter.shape, seed)
        return made

    def estimate(self, name: str, index: Tensor | slice = slice(None), network: nn.Module | None = None) -> Tensor:
        """What an auxiliary network, by default the noisy one, returns for these rows."""
        with self.autocast():
            return tensor(self, f"the {name} network", (network or self.auxiliary[name])(*self.rows(index)))

    @cached_property
    def adapted(self) -> Adapted:
        """A new model with an adapter. A check that changes its weights restores them."""
        return Adapted(self)

    def close(self, one: Tensor, other: Tensor) -> bool:
        return one.shape == other.shape and torch.allclose(
            one.detach().double(), other.detach().double(), rtol=self.tolerance, atol=self.tolerance
        )


class Adapted:
    """A model with a new adapter, and what it predicted without the adapter."""

    def __init__(self, case: ModelCase) -> None:
        self.model: Model = case.build()
        with torch.no_grad():
            self.before = case.predict(model=self.model)
        self.adapter = Adapter(self.model, LORA, seed=0)


@contextmanager
def training(model: Model, lora: LoraConfig | None, seed: int = 0) -> Iterator[Adapter]:
    """A context in which the model is trained, as within a run."""
    adapter = Adapter(model, lora, seed)
    try:
        with adapter.in_use():
            yield adapter
    finally:
        adapter.release()


def among_others(case: ModelCase) -> Iterator[tuple[int, Tensor]]:
    """The first and the last row, each with indices that keep it in its place among other rows."""
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
