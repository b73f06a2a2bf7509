"""Heavy things that several rewards use are loaded once a process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

_loaded: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_lock = threading.Lock()


def shared(key: Hashable, load: Callable[[], T]) -> T:
    """What `load` gave for this key, for as long as anybody holds it; loaded now if nobody does.

    key: all that the result depends on, such as ("open_clip", architecture, weights, device, dtype).
    load: makes an object that can be referred to weakly, as a module can, and that nobody changes afterwards.
    """
    with _lock:
        found: T | None = _loaded.get(key)
        if found is None:
            found = _loaded[key] = load()
        return found
