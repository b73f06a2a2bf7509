"""Progress on a terminal: epochs, sampling, update. Elsewhere, lines only."""

from __future__ import annotations

import sys
import warnings
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bars:
    """A context with one bar per activity: on standard error where it is a terminal, or in a notebook's cell."""

    def __init__(self, epochs: int) -> None:
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not (sys.stderr.isatty() or console.is_jupyter),
            transient=True,
        )
        self._epochs = self._bars.add_task("epoch", total=epochs)
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, stage: str, done: int, total: int) -> None:
        """A `dagsdk.run.trainer.Progress`."""
        if stage not in self._stages:
            self._stages[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._stages[stage], completed=done, total=total)

    def epoch(self, done: int) -> None:
        self._bars.update(self._epochs, completed=done)

    def say(self, text: str) -> None:
        """A line of its own: on standard output, or above the bars where there are any."""
        if self._bars.disable:
            print(text, flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False)


def silence_libraries() -> None:
    """Keeps the libraries' progress bars and notices out of the run's own output."""
    import diffusers
    import transformers

    warnings.filterwarnings("ignore", module=r"(torch|diffusers|transformers|peft|accelerate)(\.|$)")
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
