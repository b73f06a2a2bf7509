"""Means with their standard errors, and whether rewards rose by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error (0 for a single value)."""
    n = len(values)
    mean = math.fsum(values) / n
    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else 0.0
    return mean, math.sqrt(variance / n)


def paired_gain(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error of the differences after - before, image by image (same prompts and seeds)."""
    return mean_and_error([a - b for b, a in zip(before, after, strict=True)])
