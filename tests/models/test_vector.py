"""Vectors: a path of even log-SNR, a pretrained model that knows its data, files that come back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from dagsdk.errors import ModelError
from dagsdk.models.nine_modes import SCALE, centres, expected_noise, nine_modes
from dagsdk.models.options import VectorOptions
from dagsdk.models.vector import TIMES, Vector, log_snr_path
from dagsdk.specs import BuildContext


def test_log_snr_rises_linearly_towards_the_data() -> None:
    path = log_snr_path((-7.0, 5.0))
    t = torch.arange(1000)
    log_snr = 2 * (path.alpha(t).log() - path.sigma(t).log())
    assert log_snr[0] == pytest.approx(5.0)
    assert log_snr[-1] == pytest.approx(-7.0)
    assert torch.allclose(log_snr.diff(), torch.full((999,), -12 / 999, dtype=torch.float64))


def test_nine_modes_are_where_they_should_be() -> None:
    points = nine_modes(20_000, torch.Generator().manual_seed(0))
    nearest = torch.cdist(points, centres()).argmin(1)
    shares = torch.bincount(nearest, minlength=9) / len(points)
    assert torch.allclose(shares, torch.full((9,), 1 / 9), atol=0.02)
    assert points.std().item() == pytest.approx(math.sqrt(1.5**2 * 2 / 3 + SCALE**2), rel=0.02)


def test_expected_noise_is_the_score() -> None:
    """E[ε | x_t] = -σ ∇ log p_t(x_t) (Tweedie), with p_t the modes shrunk by α and widened by σ."""
    alpha, sigma = torch.tensor([0.999, 0.9, 0.5, 0.05]), torch.tensor([0.05, 0.4, 0.9, 1.0])
    x_t = torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scale = ((alpha * SCALE) ** 2 + sigma**2).sqrt()[:, None, None].expand(4, 9, 2)
    modes = Independent(Normal(alpha[:, None, None] * centres(), scale), 1)
    log_p = MixtureSameFamily(Categorical(torch.ones(4, 9)), modes).log_prob(x_t)
    (score,) = torch.autograd.grad(log_p.sum(), x_t)
    torch.testing.assert_close(expected_noise(x_t.detach(), alpha, sigma), -sigma[:, None] * score)


def test_pretraining_learns_the_data() -> None:
    model = Vector.build(VectorOptions(pretrain=1000, width=64), BuildContext())
    generator = torch.Generator().manual_seed(5)
    x_0, t = nine_modes(2000, generator), torch.randint(TIMES, (2000,), generator=generator)
    alpha, sigma = model.path.alpha(t).float(), model.path.sigma(t).float()
    x_t = alpha[:, None] * x_0 + sigma[:, None] * torch.randn(x_0.shape, generator=generator)
    with torch.no_grad():
        output = model.predict(x_t, t, model.encode([""] * 2000))
    gap = (output - expected_noise(x_t, alpha, sigma)).square().mean()
    # Three times nearer than anyone who takes the data for one Gaussian.
    variance = 1.5**2 * 2 / 3 + SCALE**2
    plain = (sigma / (alpha**2 * variance + sigma**2))[:, None] * x_t
    assert gap < 0.35 * (plain - expected_noise(x_t, alpha, sigma)).square().mean()


def test_the_same_seed_builds_the_same_model() -> None:
    a, b, c = (Vector.build(VectorOptions(pretrain=2), BuildContext(seed=s)) for s in (0, 0, 1))
    x, t = torch.randn(3, 2), torch.tensor([1, 2, 3])
    outputs = [model.predict(x, t, model.encode([""] * 3)) for model in (a, b, c)]
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


def test_times_end_at_zero_and_fall() -> None:
    model = Vector.build(VectorOptions(pretrain=0), BuildContext())
    times = model.times(24)
    assert len(times) == 25
    assert times[-1] == 0
    assert (times.diff() < 0).all()
    with pytest.raises(ModelError, match=r"rollout\.steps is 1000"):
        model.times(1000)


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    model = Vector.build(VectorOptions(pretrain=2, width=32, log_snr=(-6.0, 4.0)), BuildContext())
    model.save_network(tmp_path)
    again = Vector.build(VectorOptions(folder=str(tmp_path)), BuildContext())
    x, t = torch.randn(3, 2), torch.tensor([1, 2, 3])
    assert torch.equal(model.predict(x, t, {}), again.predict(x, t, {}))
    assert again.log_snr == (-6.0, 4.0)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.folder is"):
        Vector.build(VectorOptions(folder=str(tmp_path)), BuildContext())
