"""Loading without the libraries' progress bars: their switches are global, and the host's again afterwards."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, diffusers, transformers and huggingface_hub show no progress, and diffusers deprecates nothing."""
    import diffusers.utils.logging
    import transformers.utils.logging
    from huggingface_hub.utils.tqdm import progress_bar_states

    libraries = (diffusers.utils.logging, transformers.utils.logging)
    with _LOCK, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch_dtype", category=FutureWarning)
        warnings.filterwarnings("ignore", message="Cannot (en|dis)able progress bars")  # the environment decides
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
