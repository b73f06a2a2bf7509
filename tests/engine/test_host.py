"""What a host has set is put back, also where two runs share a module."""

from __future__ import annotations

from contextlib import ExitStack

from torch import nn

from dagsdk.engine.host import frozen


def state(module: nn.Module) -> list[bool]:
    return [part.training for part in module.modules()] + [p.requires_grad for p in module.parameters()]


def test_a_shared_module_is_as_it_was_when_the_last_run_leaves_it() -> None:
    shared = nn.Sequential(nn.Linear(2, 2), nn.Dropout().eval(), nn.Linear(2, 2).requires_grad_(False))
    before = state(shared)
    first, second = ExitStack(), ExitStack()
    first.enter_context(frozen([shared, shared[0]]))  # a part of it, too
    second.enter_context(frozen([shared]))
    first.close()
    assert not any(state(shared)), "the second run still needs it"
    second.close()
    assert state(shared) == before
