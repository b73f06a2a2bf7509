"""The global generators of torch, numpy and Python, as one run has them; the host's are left as they were.

Nothing in dagsdk draws from a global generator. A component may: a reward with dropout, say.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

LOCK = threading.RLock()
"""Held while a run has the global generators, so that runs in several threads do not draw from one another's."""


class GlobalGenerators:
    """What a run's components draw from where they draw globally: the same numbers in every run with this seed.

    seed: in [0, 2^32).
    """

    def __init__(self, seed: int) -> None:
        with LOCK:
            host = _states()
            _seed(seed)
            self._own = _states()
            _restore(host)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within it the global generators are this run's. Other runs of the process wait."""
        with LOCK:
            host = _states()
            _restore(self._own)
            try:
                yield
            finally:
                self._own = _states()
                _restore(host)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint: tensors, numbers and strings."""
        version, words, gauss = self._own["python"]
        numpy_state = self._own["numpy"]
        inner = numpy_state["state"]
        return {
            "torch": self._own["torch"],
            "accelerator": self._own["accelerator"],
            "python": [version, list(words), gauss],
            "numpy": {**numpy_state, "state": {"key": inner["key"].tolist(), "pos": int(inner["pos"])}},
        }

    def load_state_dict(self, state: Any) -> None:
        version, words, gauss = state["python"]
        inner = state["numpy"]["state"]
        key = np.array(inner["key"], dtype=np.uint32)
        self._own = {
            "torch": state["torch"],
            "accelerator": state["accelerator"],
            "python": (version, tuple(words), gauss),
            "numpy": {**state["numpy"], "state": {"key": key, "pos": inner["pos"]}},
        }


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Within it, torch's global CPU generator starts from `seed`; afterwards it is where it was.

    For libraries that draw from it, such as the initialisation of layers.
    """
    with LOCK, torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which would also seed every accelerator
        torch.default_generator.manual_seed(seed)
        yield


def _states() -> dict[str, Any]:
    device = _accelerator()
    return {
        "torch": torch.get_rng_state(),
        "accelerator": [] if device is None else _of_all(device, "get_rng_state"),
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
    }


def _restore(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if states["accelerator"] and (device := _accelerator()) is not None:
        _of_all(device, "set_rng_state", states["accelerator"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])


def _seed(seed: int) -> None:
    """Seeds what `_states` knows, and nothing else, unlike torch.manual_seed."""
    torch.default_generator.manual_seed(seed)
    if (device := _accelerator()) is not None:
        getattr(device, "manual_seed_all", device.manual_seed)(seed)
    random.seed(seed)
    np.random.seed(seed)


def _accelerator() -> Any:
    """torch.cuda, torch.mps or the like; None without one."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return None if found is None else torch.get_device_module(found)


def _of_all(module: Any, name: str, *states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Calls a function of all devices of the kind, or of the only one."""
    if hasattr(module, f"{name}_all"):
        found: list[torch.Tensor] = getattr(module, f"{name}_all")(*states)
        return found
    return [getattr(module, name)(*(state[0] for state in states))]
