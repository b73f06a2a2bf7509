"""Mixed precision: what networks compute in, and a loss that is scaled for half precision only."""

from __future__ import annotations

import pytest
import torch

from dagsdk.engine.precision import Precision
from dagsdk.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(("mixed_precision", "dtype"), [("no", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("hosts", [False, True], ids=["plain", "autocast"])
def test_networks_compute_in_it_whatever_the_host_has_set(
    mixed_precision: str, dtype: torch.dtype, hosts: bool
) -> None:
    layer = torch.nn.Linear(2, 2)
    network = Precision(mixed_precision, CPU).of(layer)
    with torch.autocast("cpu", torch.float16, enabled=hosts):
        output = network(torch.ones(1, 2))
    assert output.dtype == dtype
    output.float().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(layer.weight.grad, torch.ones(2, 2))


def test_a_function_that_calls_networks_may_be_given_too() -> None:
    layer = torch.nn.Linear(2, 2)
    assert (
        Precision("bf16", CPU).of(lambda x, *, twice: layer(x) * twice)(torch.ones(2), twice=2).dtype == torch.bfloat16
    )


def test_half_precision_needs_a_gpu() -> None:
    with pytest.raises(ConfigError, match=r'train\.mixed_precision: "fp16" needs a GPU.*"bf16" or "no"'):
        Precision("fp16", CPU)


@pytest.mark.parametrize("mixed_precision", ["no", "bf16"])
def test_without_half_precision_the_scaler_changes_nothing(mixed_precision: str) -> None:
    scaler = Precision(mixed_precision, CPU).scaler
    weight = torch.nn.Parameter(torch.tensor(3.0))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    assert not scaler.is_enabled() and scaler.state_dict() == {}
    scaler.scale(weight.square()).backward()
    scaler.unscale_(optimiser)
    assert weight.grad == 6.0
    scaler.step(optimiser)
    scaler.update()
    assert weight == -3.0


def test_half_precision_on_a_gpu_scales_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: made.append((device, enabled)))
    Precision("fp16", torch.device("cuda", 1)), Precision("bf16", torch.device("cuda"))
    assert made == [("cuda", True), ("cuda", False)]
