"""The contract of models, continued: the path, and the times of a chain."""

from __future__ import annotations

import torch
from torch import Tensor

from dagsdk.process.path import GaussianPath
from dagsdk.testing.check import require
from dagsdk.testing.model_case import ModelCase, require_finite


def check_noise_grows_with_time(case: ModelCase) -> None:
    """Along the path, signal falls and noise rises with time; both are finite and never negative."""
    path, times = case.built.path, case.built.times(case.steps).unique()  # rising
    require(
        isinstance(path, GaussianPath),
        f"{case.name}: path is {path!r:.80}; it must have alpha(t), sigma(t) and time_at(share), like "
        "those in dagsdk.process.path",
    )
    alpha, sigma = levels = path.alpha(times), path.sigma(times)
    for name, level in zip(("alpha", "sigma"), levels, strict=True):
        require(
            level.shape == times.shape and level.is_floating_point(),
            f"{case.name}: path.{name} of times of shape {tuple(times.shape)} is {level.dtype} of shape "
            f"{tuple(level.shape)}; it must be floating point, of the times' shape",
        )
        require(
            bool((level.isfinite() & (level >= 0)).all()),
            f"{case.name}: path.{name} is {level.tolist()} at times {times.tolist()}; it must be finite and >= 0",
        )
    rises = (alpha.diff() <= 0) & (sigma.diff() >= 0) & ((alpha.diff() < 0) | (sigma.diff() > 0))
    require(
        bool(rises.all()),
        f"{case.name}: at times {times.tolist()} path.alpha is {alpha.tolist()} and path.sigma {sigma.tolist()}; "
        "alpha must fall and sigma must rise with time",
    )


def check_times_span_the_path(case: ModelCase) -> None:
    """`path.time_at` gives the time at each share of the way from clean to noisy, which `predict` accepts."""
    path = case.built.path
    share = torch.linspace(0, 1 - 1e-6, len(case.texts))
    times = path.time_at(share)
    require(
        isinstance(times, Tensor) and times.shape == share.shape,
        f"{case.name}: path.time_at of shares of shape {tuple(share.shape)} is {times!r:.80}; it must be a tensor of "
        "the same shape",
    )
    alpha, sigma = path.alpha(times), path.sigma(times)
    require(
        bool((times.diff() >= 0).all()) and bool(alpha[0] * sigma[-1] > alpha[-1] * sigma[0]),
        f"{case.name}: path.time_at of shares {share.tolist()} is {times.tolist()}; times must rise with the share, "
        "from clean to noisy",
    )
    states, _, conditioning = case.rows()
    with torch.no_grad(), case.autocast():
        found = case.built.predict(states, times.to(case.device), conditioning)
    require_finite(case, f"predict at times {times.tolist()}", found, "see how times enter the network")


def check_times_fall(case: ModelCase) -> None:
    """A chain of T transitions has T + 1 falling times on the CPU, the same with every call."""
    for steps in (case.steps, case.steps + 1, case.steps):
        times = case.built.times(steps)
        require(
            isinstance(times, Tensor) and times.device.type == "cpu" and tuple(times.shape) == (steps + 1,),
            f"{case.name}: times({steps}) are {times!r:.120}; they must be a tensor of shape ({steps + 1},) on the CPU",
        )
        require(
            bool((times.diff() < 0).all()),
            f"{case.name}: times({steps}) are {times.tolist()}; they must fall, from noisy to clean",
        )
    require(
        torch.equal(case.built.times(case.steps), times),
        f"{case.name}: times({case.steps}) differ from one call to the next; they must depend on the steps only",
    )


PATH_CHECKS = (
    check_noise_grows_with_time,
    check_times_span_the_path,
    check_times_fall,
)
