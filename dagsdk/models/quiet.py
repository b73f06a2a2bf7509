"""Libraries without their warnings and progress bars: the switches are global, and the host's again afterwards."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def without_warnings(*messages: str) -> Iterator[None]:
    """Within it, no warning is shown whose message begins like one of these regular expressions."""
    with _LOCK, warnings.catch_warnings():
        for message in messages:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def without_progress() -> Iterator[None]:
    """Within it, diffusers, transformers and huggingface_hub show no progress bars."""
    import diffusers.utils.logging
    import transformers.utils.logging
    from huggingface_hub.utils.tqdm import progress_bar_states

    libraries = (diffusers.utils.logging, transformers.utils.logging)
    # where the environment decides, the hub says that it cannot be switched
    with _LOCK, without_warnings("Cannot (en|dis)able progress bars"):
        shown = [library for library in libraries if library.is_progress_bar_enabled()]
        hub = dict(progress_bar_states)
        for library in libraries:
            library.disable_progress_bar()
        try:
            yield
        finally:
            for library in shown:
                library.enable_progress_bar()
            # transformers switches those of the hub along with its own
            progress_bar_states.clear()
            progress_bar_states.update(hub)
