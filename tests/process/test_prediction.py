from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dagsdk.process.prediction import Prediction, denoise

KINDS = get_args(Prediction)
LEVELS = st.floats(0.05, 1.0)


def _output(kind: str, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return {
        "epsilon": eps,
        "sample": x0,
        "v_prediction": alpha * eps - sigma * x0,
        "velocity": eps - x0,
    }[kind]


@settings(max_examples=30, deadline=None)
@given(kind=st.sampled_from(KINDS), alpha=LEVELS, sigma=LEVELS, seed=st.integers(0, 99))
def test_an_exact_output_gives_back_state_and_noise_on_any_path(
    kind: Prediction, alpha: float, sigma: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(2, 3, 4, 5, 5, generator=generator, dtype=torch.float64)
    levels = (
        torch.tensor([alpha, sigma, 0.3], dtype=torch.float64),
        torch.tensor([sigma, alpha, 0.7]).double(),
    )
    a, s = (level.reshape(3, 1, 1, 1) for level in levels)
    x_t = a * x0 + s * eps
    recovered = denoise(kind, _output(kind, x0, eps, a, s), x_t, *levels)
    torch.testing.assert_close(recovered, (x0, eps), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_pair_always_explains_the_state(kind: Prediction) -> None:
    output, x_t = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha, sigma = torch.rand(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    x0, eps = denoise(kind, output, x_t, alpha, sigma)
    torch.testing.assert_close(alpha[:, None] * x0 + sigma[:, None] * eps, x_t)


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (3, 1, 1), (1,)])
def test_levels_of_any_broadcastable_shape_are_taken(shape: tuple[int, ...]) -> None:
    x_t = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = denoise("velocity", x_t.cos(), x_t, torch.full((3,), 0.6), torch.full((3,), 0.4))
    actual = denoise("velocity", x_t.cos(), x_t, torch.full(shape, 0.6), torch.full(shape, 0.4))
    torch.testing.assert_close(actual, expected)


def test_levels_of_shape_b_go_with_the_batch_even_where_another_axis_is_as_long() -> None:
    x_t, levels = torch.ones(3, 3), torch.tensor([1.0, 2.0, 4.0])
    x0, _ = denoise("epsilon", torch.zeros(3, 3), x_t, levels, levels)
    assert x0[:, 0].tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "wide"), [(torch.float16, torch.float32), (torch.float64, torch.float64)])
def test_results_are_float32_or_wider(kind: Prediction, dtype: torch.dtype, wide: torch.dtype) -> None:
    x = torch.ones(2, 3, dtype=dtype)
    level = torch.full((2,), 0.5, dtype=torch.float64)
    assert {half.dtype for half in denoise(kind, x, x, level, level)} == {wide}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.0), (0.0, 1.0)])
def test_the_ends_of_a_path_are_finite_with_finite_gradients(kind: Prediction, alpha: float, sigma: float) -> None:
    output = torch.ones(1, 2, requires_grad=True)
    x0, eps = denoise(kind, output, torch.full((1, 2), 3.0), torch.tensor([alpha]), torch.tensor([sigma]))
    (x0 + eps).sum().backward()
    assert torch.isfinite(torch.stack([x0, eps])).all()
    assert torch.isfinite(output.grad).all()


def test_a_state_without_noise_is_its_own_clean_state() -> None:
    x_t = torch.tensor([[1.0, -2.0]])
    for kind in ("epsilon", "v_prediction", "velocity"):
        x0, _ = denoise(kind, torch.ones(1, 2), x_t, torch.ones(1), torch.zeros(1))
        torch.testing.assert_close(x0, x_t)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"prediction type 'flow' is unknown; .*epsilon, v_prediction"):
        denoise("flow", torch.ones(1), torch.ones(1), torch.ones(1), torch.ones(1))  # type: ignore[arg-type]
