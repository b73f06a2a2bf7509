from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dagsdk.process.path import VariancePreserving
from dagsdk.process.prediction import denoise
from dagsdk.process.transition import check_schedule, forward_policy, noising_kernel

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "dag_transitions.json").read_text())
CASES = GOLDEN["cases"]


def _stable_diffusion() -> VariancePreserving:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return VariancePreserving(torch.cumprod(1 - betas, dim=0).double())


def _close(actual: Tensor, expected: list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("floor", [None, 0.0])
@pytest.mark.parametrize(
    "case", CASES, ids=[f"{c['prediction_type']}-{c['num_inference_steps']}-{c['eta']}" for c in CASES]
)
def test_transitions_match_the_published_implementation(case: dict, floor: float | None) -> None:
    t = torch.tensor(case["timesteps"])
    t_next = (t - 1000 // case["num_inference_steps"]).clamp(min=0)
    shape = (len(t), *case["shape"])
    a, b = case["a"], case["b"]
    i = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    wave = lambda scale, shift: torch.sin(scale * a * i + b + shift).reshape(shape)  # noqa: E731
    x, output, z = wave(1.0, 0), wave(1.7, 1), wave(0.9, 2)
    x_next = 0.98 * x + 0.05 * z

    path = _stable_diffusion()
    x0, eps = denoise(case["prediction_type"], output, x, path.alpha(t), path.sigma(t))
    policy = forward_policy(path, x0, eps, t, t_next, case["eta"], floor)
    kernel = noising_kernel(path, x_next, t, t_next, floor)

    _close(policy.log_prob(x_next), case["log_pf_mean"])
    _close(policy.log_prob(x_next, "sum"), case["log_pf_sum"])
    _close(kernel.log_prob(x), case["log_pb_mean"])
    _close(kernel.log_prob(x, "sum"), case["log_pb_sum"])
    _close(x0.flatten(1)[:, :4], case["x0_first"])
    _close(x0.flatten(1).mean(1), case["x0_mean"])


@pytest.mark.parametrize("steps", [20, 50])
def test_the_published_schedules_have_densities(steps: int) -> None:
    times = torch.arange(steps - 1, -1, -1) * (1000 // steps) + 1
    check_schedule(_stable_diffusion(), torch.cat([times, torch.tensor([0])]), eta=1.0)
