"""The schedule of β over epochs."""

from __future__ import annotations


def beta_at(beta: float, epoch: int, epochs: int, warmup: float) -> float:
    """β_e = β · min(1, e / (w E)): a linear rise over the share w of the E epochs, so β is 0 in epoch 0.

    With w = 0 it is β throughout. (arXiv 2406.00633; its code has w = 0.5.)
    """
    rise = warmup * epochs
    return beta if rise == 0 else beta * min(1.0, epoch / rise)
