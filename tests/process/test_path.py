from __future__ import annotations

import pytest
import torch

from dagsdk.process.path import GaussianPath, RectifiedFlow, VariancePreserving

BAR = torch.linspace(0.999, 0.001, 10, dtype=torch.float64)


def test_both_paths_fulfil_the_protocol() -> None:
    assert isinstance(RectifiedFlow(), GaussianPath)
    assert isinstance(VariancePreserving(BAR), GaussianPath)


def test_variance_preserving_squares_add_up_to_one() -> None:
    path, t = VariancePreserving(BAR), torch.arange(10)
    torch.testing.assert_close(path.alpha(t) ** 2, BAR)
    torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones_like(BAR))


def test_rectified_flow_is_a_straight_line() -> None:
    t = torch.tensor([0.0, 0.25, 1.0])
    assert RectifiedFlow().alpha(t).tolist() == [1.0, 0.75, 0.0]
    assert RectifiedFlow().sigma(t).tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3)])
def test_levels_have_the_shape_of_the_times(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    preserving = VariancePreserving(BAR.to(dtype))
    for level in (preserving.alpha, preserving.sigma):
        assert level(torch.zeros(shape, dtype=torch.int32)).shape == shape
        assert level(torch.zeros(shape, dtype=torch.int64)).dtype == dtype
    for level in (RectifiedFlow().alpha, RectifiedFlow().sigma):
        assert level(torch.zeros(shape, dtype=dtype)).shape == shape
        assert level(torch.zeros(shape, dtype=dtype)).dtype == dtype


def test_levels_are_those_of_the_table_whatever_happens_to_it_later() -> None:
    bar = BAR.clone()
    path = VariancePreserving(bar)
    bar.zero_()
    torch.testing.assert_close(path.alpha(torch.tensor([9])), torch.tensor([0.001**0.5], dtype=torch.float64))


@pytest.mark.parametrize("t", [[-1], [10], [0, 11]])
def test_times_outside_the_table_are_refused_on_the_cpu(t: list[int]) -> None:
    with pytest.raises(IndexError, match=r"this path has times 0 to 9"):
        VariancePreserving(BAR).alpha(torch.tensor(t))


@pytest.mark.parametrize("t", [torch.tensor([1.0]), torch.tensor([True])])
def test_times_that_are_not_integers_are_refused(t: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="integer times"):
        VariancePreserving(BAR).sigma(t)


@pytest.mark.parametrize(
    ("bar", "message"),
    [
        ([0.9, 0.0], r"alphas_cumprod\[1\] is 0; every value must be in \(0, 1\]"),
        ([1.1], r"alphas_cumprod\[0\] is 1.1"),
        ([0.9, float("nan")], r"alphas_cumprod\[1\] is nan"),
        ([0.5, 0.6], r"alphas_cumprod\[1\] is 0.6; values must not increase"),
        ([], "shape"),
        ([[0.5]], "shape"),
    ],
)
def test_a_table_that_is_no_noise_schedule_is_refused(bar: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VariancePreserving(torch.tensor(bar))


def test_a_table_of_integers_is_refused() -> None:
    with pytest.raises(ValueError, match="floating point"):
        VariancePreserving(torch.tensor([1]))
