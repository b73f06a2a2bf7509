"""The optimiser of both stages: AdamW with a linear warm-up and a cosine decay to zero."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.nn import Parameter
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


class Optimiser:
    """Steps parameters once per `step`, over exactly `steps` steps."""

    def __init__(self, parameters: Iterable[Parameter], *, rate: float, steps: int, warm_up: int = 200) -> None:
        self._parameters = list(parameters)
        self._adam = AdamW(self._parameters, lr=rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
        warm_up = min(warm_up, max(1, steps // 10))

        def factor(step: int) -> float:
            if step < warm_up:
                return (step + 1) / warm_up
            return 0.5 + 0.5 * math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))

        self._schedule = LambdaLR(self._adam, factor)

    def step(self, loss: torch.Tensor) -> None:
        """Descends this scalar loss, its gradient clipped to norm 1."""
        self._adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._adam.step()
        self._schedule.step()
