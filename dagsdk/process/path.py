"""Gaussian paths: how much signal α and noise σ a state x_t = α_t x_0 + σ_t ε carries at each time."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class GaussianPath(Protocol):
    """α and σ over time. Times fall from noisy to clean: α decreases and σ increases with time."""

    def alpha(self, t: Tensor, /) -> Tensor:
        """α of times of any shape; same shape, floating point, on t's device."""

    def sigma(self, t: Tensor, /) -> Tensor:
        """σ of times of any shape; same shape, floating point, on t's device."""

    def time_at(self, share: Tensor, /) -> Tensor:
        """The time at this share of the way from clean to noisy: share in [0, 1), of any shape; same shape."""


class RectifiedFlow:
    """The straight path α = 1 - t, σ = t, for floating-point times in [0, 1]; results have t's dtype."""

    def alpha(self, t: Tensor, /) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor, /) -> Tensor:
        return t

    def time_at(self, share: Tensor, /) -> Tensor:
        return share


class VariancePreserving:
    """The discrete diffusion path α = √ᾱ, σ = √(1 - ᾱ), for integer times that index ᾱ.

    alphas_cumprod: ᾱ by time, shape (n,), each in (0, 1], not increasing. α and σ have its dtype, so pass
        float64 where densities of small steps matter (``scheduler.alphas_cumprod.double()``).

    Times outside 0..n-1 raise IndexError on the CPU. On an accelerator the look-up fails later for times of n and
    above, and negative times are not noticed, since a check would make the host wait.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        bar = alphas_cumprod.detach().cpu()
        if bar.ndim != 1 or len(bar) == 0 or not bar.is_floating_point():
            raise ValueError(
                f"alphas_cumprod is {bar.dtype} of shape {tuple(bar.shape)}; it must be floating point of "
                "shape (n,) with n >= 1: pass the noise scheduler's alphas_cumprod"
            )
        for wrong, rule in (
            (~((bar > 0) & (bar <= 1)), "every value must be in (0, 1]"),
            (torch.diff(bar, prepend=bar[:1]) > 0, "values must not increase with time"),
        ):
            if wrong.any():
                index = int(wrong.nonzero()[0])
                raise ValueError(
                    f"alphas_cumprod[{index}] is {float(bar[index]):.6g}; {rule}: "
                    "check the noise schedule (one that ends without signal is not supported)"
                )
        self._tables: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._tables[bar.device] = (bar.sqrt(), (1 - bar).sqrt())

    def alpha(self, t: Tensor, /) -> Tensor:
        return self._table(t)[0][t]

    def sigma(self, t: Tensor, /) -> Tensor:
        return self._table(t)[1][t]

    def time_at(self, share: Tensor, /) -> Tensor:
        count = len(self._tables[torch.device("cpu")][0])
        return (share * count).long().clamp(max=count - 1)

    def _table(self, t: Tensor) -> tuple[Tensor, Tensor]:
        cpu = self._tables[torch.device("cpu")]
        if t.is_floating_point() or t.dtype == torch.bool:
            raise TypeError(f"times are {t.dtype}; a variance-preserving path takes integer times: use t.long()")
        if t.device.type == "cpu" and t.numel() and not 0 <= int(t.min()) <= int(t.max()) < len(cpu[0]):
            raise IndexError(
                f"times reach from {int(t.min())} to {int(t.max())}; this path has times 0 to "
                f"{len(cpu[0]) - 1}: check the number of steps and the offset of the schedule"
            )
        if t.device not in self._tables:
            self._tables[t.device] = (cpu[0].to(t.device), cpu[1].to(t.device))
        return self._tables[t.device]
