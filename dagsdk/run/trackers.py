"""The run's trackers (TensorBoard and others): accelerate's, without its `Accelerator`, whose state is the host's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagsdk.errors import ConfigError

_LOCK = threading.RLock()


class Trackers:
    """Sends an epoch's numbers to the named trackers; without names it does nothing.

    Raises ConfigError for a tracker that is not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path | None) -> None:
        self._folder = folder
        self._open: list[Any] = []
        self._kinds: list[Callable[..., Any]] = []
        if not names or folder is None:
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers

        try:
            with _no_state_left():
                found = [str(kind) for kind in filter_trackers(list(names), logging_dir=str(folder / "tensorboard"))]
            problem = "not all of them are installed" if {*names} - {*found, "all"} else ""
        except ValueError as error:
            problem = str(error)
        if problem:
            lines = [f"trackers: {list(names)}: {problem}; install the tracker's package, or set trackers = []"]
            raise ConfigError("run", lines)
        self._kinds = [LOGGER_TYPE_TO_CLASS[name] for name in found]

    def open(self) -> None:
        with _no_state_left():
            for kind in self._kinds:
                self._open.append(self._made(kind))
                self._open[-1].start()

    def log(self, metrics: Mapping[str, Any], epoch: int) -> None:
        with _no_state_left():
            for tracker in self._open:
                tracker.log({key: value for key, value in metrics.items() if key != "epoch"}, step=epoch)

    def close(self) -> None:
        with _no_state_left():
            while self._open:
                self._open.pop().finish()

    def _made(self, kind: Any) -> Any:
        assert self._folder is not None
        name = self._folder.resolve().name
        if not kind.requires_logging_directory:
            return kind(name)
        folder = str(self._folder / "tensorboard")
        return kind("." if kind.name == "tensorboard" else name, folder)


@contextmanager
def _no_state_left() -> Iterator[None]:
    """Trackers ask accelerate's `PartialState` for the main process. A host that has none may still make its own."""
    from accelerate.state import PartialState

    with _LOCK:
        was_there = bool(PartialState._shared_state)
        PartialState()  # accelerate's logger wants one, too
        try:
            yield
        finally:
            if not was_there:
                PartialState._reset_state()
