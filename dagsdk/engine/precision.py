"""Mixed precision: what networks compute in, and the scaling that half precision's gradients need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from dagsdk.errors import ConfigError

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
F = TypeVar("F", bound=Callable[..., Any])


class Precision:
    """What a run computes in on a device.

    scaler: of the loss; it changes nothing but under fp16.
    mixed_precision: "no", "bf16" or "fp16". Raises ConfigError for fp16 on the CPU.
    """

    def __init__(self, mixed_precision: str, device: torch.device) -> None:
        if mixed_precision == "fp16" and device.type == "cpu":
            problem = 'train.mixed_precision: "fp16" needs a GPU, and this run is on the CPU; take "bf16" or "no"'
            raise ConfigError("run", [problem])
        self._device, self._mixed = device.type, mixed_precision
        self.scaler: Any = torch.amp.GradScaler(device.type, enabled=mixed_precision == "fp16")

    def of(self, network: F) -> F:
        """A network, or a function that calls one, so that it runs in this precision."""
        enabled = self._mixed != "no"
        autocast = torch.autocast(self._device, DTYPES[self._mixed] if enabled else None, enabled=enabled)
        wrapped: F = autocast(network)
        return wrapped
