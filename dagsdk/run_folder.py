"""The run folder: who may write to it, what lies where, and figures that survive a kill."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from dagsdk import checkpoints
from dagsdk.config.files import differences
from dagsdk.errors import RunFolderError

MAY_CHANGE = ("checkpoint.", "trackers", "output", "plugins")
"""Keys that a resumed run may change: they do not touch a single bit of what is trained."""


@frozen
class RunFolder:
    """A folder that one run owns.

    run.toml, metrics.jsonl, images/, evaluation/, checkpoints/epoch-NNNN/, tensorboard/.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def claim(self, text: str, *, resume: bool) -> Path | None:
        """Takes the folder for the run that `text` (a resolved run file) describes.

        returns: the checkpoint to go on from, or None for a run from the start.
        Raises RunFolderError when it cannot be written, holds another run, or the configuration has changed.
        """
        run_file = self.path / "run.toml"
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"output {str(self.path)!r} is a file; it must be a folder; choose another output")
        if run_file.exists() and not resume:
            raise RunFolderError(
                f"output {str(self.path)!r} holds a run already; a run needs a folder of its own; "
                "go on with it by --resume, or choose another output"
            )
        if not run_file.exists() and self.path.is_dir() and any(self.path.iterdir()):
            raise RunFolderError(
                f"output {str(self.path)!r} is not empty and holds no run; a run needs a new or empty folder; "
                "choose another output"
            )
        try:
            for folder in (self.path, self.checkpoints, self.path / "images", self.path / "evaluation"):
                folder.mkdir(parents=True, exist_ok=True)
            if run_file.exists():
                self._refuse_changes(run_file, text)
            write_whole(run_file, text)
            checkpoints.discard_unfinished(self.checkpoints)
        except OSError as error:
            raise RunFolderError(
                f"output {str(self.path)!r} cannot be written: {error.strerror}; "
                "choose a folder that this user may write to"
            ) from error
        done = checkpoints.found(self.checkpoints)
        return done[-1] if done else None

    def _refuse_changes(self, run_file: Path, text: str) -> None:
        try:
            before = tomllib.loads(run_file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{run_file} is damaged: {error}; restore it, or choose another output") from error
        after = tomllib.loads(text)
        changed = [key for key in differences(before, after) if not key.startswith(MAY_CHANGE)]
        if changed:
            listed = "; ".join(f"{key}: {_at(before, key)} → {_at(after, key)}" for key in changed)
            raise RunFolderError(
                f"output {str(self.path)!r} holds a run with another configuration ({listed}); a run goes on as it "
                "began; undo the change, or choose another output"
            )

    def keep_metrics(self, epoch: int) -> None:
        """Drops the figures of epochs after `epoch`, which will be run again."""
        lines = [line for line in self.read_metrics() if line["epoch"] <= epoch]
        write_whole(self.metrics, "".join(json.dumps(line) + "\n" for line in lines))

    def append_metrics(self, figures: Mapping[str, Any]) -> None:
        """One object, on the disk when this returns."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(figures) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines; a line that a kill cut short is left out."""
        if not self.metrics.exists():
            return []
        lines = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def write_scores(
        self, name: str, scores: Mapping[str, Sequence[float]], prompts: Sequence[str], seeds: Sequence[int]
    ) -> None:
        """evaluation/NAME.json: scores by reward and image, with prompts and seeds."""
        content = {"scores": dict(scores), "prompts": list(prompts), "seeds": list(seeds)}
        write_whole(self.path / "evaluation" / f"{name}.json", json.dumps(content))

    def read_scores(self, name: str) -> dict[str, list[float]] | None:
        file = self.path / "evaluation" / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8"))["scores"] if file.exists() else None


def write_whole(path: Path, text: str) -> None:
    """Writes a file under another name and renames it, so that it is never seen half-written."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    checkpoints.sync(draft)
    draft.replace(path)


def _at(tables: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path such as ``rewards[0].weight``, for a message."""
    value: Any = tables
    for step in key.replace("[", ".").replace("]", "").split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            return "unset"
    return value
