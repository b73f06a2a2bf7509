"""The policy's noise as something that is trained: one factor per step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dagsdk.errors import ModelError

FILE = "noise_scale.safetensors"


class NoiseScale(nn.Module):
    """exp(s_k), what the standard deviation of transition k is multiplied by; 1 before training.

    Balance between p_F and p_B cannot hold while their variances disagree, whatever the flow is: the gap grows with the
    square of the noise, which no function of the state can take up. With one number per step it can.

    times: of the chain, shape (T + 1,).
    """

    def __init__(self, times: Tensor) -> None:
        super().__init__()
        self.times = times[:-1]
        self.log_scale = nn.Parameter(torch.zeros(len(self.times), device=times.device))
        self.enabled = True

    def forward(self, t: Tensor) -> Tensor:
        """Factors of transitions that begin at times t: their shape, (n,)."""
        scale = self.log_scale.exp() if self.enabled else torch.ones_like(self.log_scale)
        step = (self.times == t[:, None]).int().argmax(1)  # no look-up table on the host: it would have to wait
        return scale[step]

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it, the noise is what it was before training."""
        self.enabled = False
        try:
            yield
        finally:
            self.enabled = True

    def state(self) -> dict[str, Tensor]:
        """A copy, on the CPU."""
        return {"log_scale": self.log_scale.detach().cpu().clone()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.log_scale.copy_(state["log_scale"])

    def save(self, folder: Path) -> None:
        save_file(self.state(), folder / FILE)

    def load(self, folder: Path) -> None:
        """Reads what `save` wrote. Raises ModelError where it is missing or of another number of steps."""
        file = folder / FILE
        if not file.is_file():
            raise ModelError(f'{folder} has no {FILE}; a run with rollout.variance = "learned" writes it')
        state = load_file(file)
        saved = state["log_scale"]
        if saved.shape != self.log_scale.shape:
            raise ModelError(
                f"{file} has {len(saved)} steps; the chain has {len(self.log_scale)}; take the run's rollout.steps"
            )
        self.restore(state)
