from __future__ import annotations

import gc

from torch import nn

from dagsdk.rewards.shared import shared


def test_a_key_is_loaded_once_as_long_as_somebody_holds_it() -> None:
    loads = []

    def load() -> nn.Module:
        loads.append(1)
        return nn.Linear(2, 2)

    first, second = shared("key", load), shared("key", load)
    assert first is second and len(loads) == 1
    assert shared("another", load) is not first
    del first, second
    gc.collect()
    third = shared("key", load)
    assert third is shared("key", load) and len(loads) == 3
