"""The flow gradients of images and of vectors: the states' shape, zero at first, and row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dagsdk.models.mlp import MLPFlowGradient
from dagsdk.models.unet_flow_gradient import UNetFlowGradient

Given = tuple[Tensor, Tensor, dict[str, Tensor]]


def images(batch: int, size: tuple[int, int] = (8, 8), dtype: torch.dtype = torch.float32) -> Given:
    generator = torch.Generator().manual_seed(0)
    x, embeds = torch.randn(batch, 4, *size, generator=generator), torch.randn(batch, 5, 16, generator=generator)
    times = torch.tensor([0, 100, 500, 999])[:batch]
    return x, times, {"prompt_embeds": embeds.to(dtype)}


def points(batch: int) -> Given:
    x = torch.randn(batch, 3, generator=torch.Generator().manual_seed(0))
    return x, torch.tensor([0, 100, 500, 999])[:batch], {"none": torch.zeros(batch, 0)}


def noisy(network: nn.Module) -> nn.Module:
    """With weights as after some training: those of the last layer are not zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


BOTH = pytest.mark.parametrize(
    ("make", "given"),
    [(lambda: UNetFlowGradient(4, 16, (8, 16)), images), (lambda: MLPFlowGradient(3, 16), points)],
    ids=["unet", "mlp"],
)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (5, 7), (1, 6), (8, 8)], ids=str)
@pytest.mark.parametrize("widths", [(2,), (8,), (8, 16), (8, 8, 16), (4, 8, 8, 16), (6, 10)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_unet_takes_any_widths_latents_and_batches(
    size: tuple[int, int], widths: tuple[int, ...], batch: int
) -> None:
    x, t, conditioning = images(batch, size)
    network = noisy(UNetFlowGradient(4, 16, widths))
    found = network(x, t, conditioning)
    assert found.shape == x.shape and found.dtype == torch.float32 and found.isfinite().all()
    found.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize(("dimension", "width"), [(1, 1), (2, 192), (7, 3)])
def test_the_mlp_takes_any_dimension_and_width(dimension: int, width: int) -> None:
    x = torch.randn(4, dimension)
    found = noisy(MLPFlowGradient(dimension, width))(x, torch.arange(4), {})
    assert found.shape == x.shape and found.isfinite().all()


@BOTH
def test_a_new_one_returns_zeros_and_learns_from_there(make: Callable[[], nn.Module], given: Any) -> None:
    network, (x, t, conditioning) = make(), given(3)
    assert network(x, t, conditioning).count_nonzero() == 0
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = (network(x, t, conditioning) - x).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.5 * losses[0]


@BOTH
def test_rows_stand_alone_and_see_state_and_time(make: Callable[[], nn.Module], given: Any) -> None:
    network, (x, t, conditioning) = noisy(make()), given(3)
    with torch.no_grad():
        found = network(x, t, conditioning)
        for i in range(3):
            rows = slice(i, i + 1)
            alone = network(x[rows], t[rows], {name: value[rows] for name, value in conditioning.items()})
            torch.testing.assert_close(alone, found[rows], rtol=1e-4, atol=1e-4)
        assert not torch.allclose(network(x + 0.1, t, conditioning), found, atol=1e-3)
        assert not torch.allclose(network(x, t + 50, conditioning), found, atol=1e-4)


def test_the_unet_sees_the_prompt() -> None:
    network, (x, t, conditioning) = noisy(UNetFlowGradient(4, 16, (8, 16))), images(3)
    with torch.no_grad():
        other = network(x, t, {"prompt_embeds": conditioning["prompt_embeds"].roll(1, 0)})
        assert not torch.allclose(other, network(x, t, conditioning), atol=1e-4)


def test_embeddings_of_half_precision_are_taken() -> None:
    network = noisy(UNetFlowGradient(4, 16, (8, 16)))
    found = network(*images(2, dtype=torch.bfloat16))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(*images(2)), rtol=0.05, atol=0.05)


def test_its_states_may_be_differentiated() -> None:
    """As an energy's would be: ∇_x of a number made of g_φ is there, and finite."""
    x, t, conditioning = images(2)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(noisy(UNetFlowGradient(4, 16, (8, 16)))(x, t, conditioning).sum(), x)
    assert gradient.isfinite().all() and gradient.count_nonzero()


def test_at_the_papers_widths_it_is_small() -> None:
    """Against the 860 million weights of Stable Diffusion 1.5's own network."""
    assert sum(p.numel() for p in UNetFlowGradient(4, 768).parameters()) < 0.03 * 860e6
