"""Networks that several rewards use are loaded once per process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakValueDictionary

T = TypeVar("T")

_loaded: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_lock = threading.Lock()


def shared(key: Hashable, load: Callable[[], T]) -> T:
    """What `load` returned for this key, as long as it is in use somewhere; otherwise it is loaded now.

    key: everything that the result depends on, such as ("open_clip", architecture, weights, device, dtype).
    load: makes an object that supports weak references, such as a module, and that is not changed afterwards.
    """
    with _lock:
        found: T | None = _loaded.get(key)
        if found is None:
            found = _loaded[key] = load()
        return found
