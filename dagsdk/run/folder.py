"""The run folder: who may write to it, what lies where, and metrics that survive a kill."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import define, field, frozen
from torch import Tensor

from dagsdk.config.files import differences
from dagsdk.errors import RunFolderError
from dagsdk.evaluation.held_out import ByReward, Evaluated
from dagsdk.evaluation.pictures import save_curves, save_grid
from dagsdk.run import checkpoints

MAY_CHANGE = ("checkpoint.", "trackers", "output", "plugins", "given")
"""Keys that a resumed run may change: they do not touch a single bit of what is trained."""

SHOWN = 32
"""Images in a grid."""


class Keeper(Protocol):
    """Where a run keeps what it makes: a `RunFolder`, or `Nowhere`."""

    def claim(self, text: str, *, resume: bool) -> Path | None: ...
    def begin(self, text: str, epoch: int) -> None: ...
    def append_metrics(self, metrics: Mapping[str, Any]) -> None: ...
    def read_metrics(self) -> list[dict[str, Any]]: ...
    def write_images(self, epoch: int, images: Tensor, captions: Sequence[str]) -> None: ...
    def write_curves(self) -> None: ...
    def write_evaluation(self, name: str, evaluated: Evaluated) -> None: ...
    def read_rewards(self, name: str) -> ByReward | None: ...
    def checkpoints(self) -> Path | None: ...


@define
class Nowhere:
    """Keeps nothing on the disk: for a program that embeds a run and wants no files."""

    _rewards: dict[str, ByReward] = field(factory=dict, init=False)

    def claim(self, text: str, *, resume: bool) -> Path | None:
        return None

    def begin(self, text: str, epoch: int) -> None:
        return

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        return

    def read_metrics(self) -> list[dict[str, Any]]:
        return []

    def write_images(self, epoch: int, images: Tensor, captions: Sequence[str]) -> None:
        return

    def write_curves(self) -> None:
        return

    def write_evaluation(self, name: str, evaluated: Evaluated) -> None:
        self._rewards[name] = evaluated.rewards

    def read_rewards(self, name: str) -> ByReward | None:
        return self._rewards.get(name)

    def checkpoints(self) -> Path | None:
        return None


@frozen
class RunFolder:
    """A folder that one run owns.

    run.toml, metrics.jsonl, images/, evaluation/, checkpoints/epoch-NNNN/, tensorboard/.
    """

    path: Path

    def checkpoints(self) -> Path | None:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def claim(self, text: str, *, resume: bool) -> Path | None:
        """Takes the folder for the run that `text` (a resolved run file) describes. One to resume is only looked at.

        returns: the checkpoint to continue from, or None for a run from the start.
        Raises RunFolderError when it cannot be written, holds another run, or the configuration has changed.
        """
        run_file, done = self.path / "run.toml", self.path / "checkpoints"
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"output {str(self.path)!r} is a file; it must be a folder; choose another output")
        if run_file.exists() and not resume:
            raise RunFolderError(
                f"output {str(self.path)!r} holds a run already; a run needs a folder of its own; "
                "continue it with --resume (in Python resume=True), or choose another output"
            )
        if not run_file.exists() and self.path.is_dir() and any(self.path.iterdir()):
            raise RunFolderError(
                f"output {str(self.path)!r} is not empty and holds no run; a run needs a new or empty folder; "
                "choose another output"
            )
        if run_file.exists():
            self._refuse_changes(run_file, text)
        else:
            self._prepare(text)
        return newest_checkpoint(done)

    def _prepare(self, text: str) -> None:
        try:
            for folder in (self.path, *(self.path / name for name in ("checkpoints", "images", "evaluation"))):
                folder.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / "run.toml", text)
        except OSError as error:
            raise RunFolderError(
                f"output {str(self.path)!r} cannot be written: {error.strerror}; "
                "choose a folder that this user may write to"
            ) from error

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
                f"output {str(self.path)!r} holds a run with another configuration ({listed}); a resumed run keeps its "
                "configuration; undo the change, or choose another output"
            )

    def begin(self, text: str, epoch: int) -> None:
        """Removes unfinished checkpoints, and the metrics of epochs after `epoch`, which will be trained again.

        text: the resolved run file, of which a resumed run may have changed some keys.
        """
        self._prepare(text)
        checkpoints.discard_unfinished(self.path / "checkpoints")
        lines = [line for line in self.read_metrics() if line["epoch"] <= epoch]
        write_whole(self.metrics, "".join(json.dumps(line) + "\n" for line in lines))

    def append_metrics(self, metrics: Mapping[str, Any]) -> None:
        """One object, on the disk when this returns."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(metrics) + "\n")
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

    def write_images(self, epoch: int, images: Tensor, captions: Sequence[str]) -> None:
        """images/epoch-NNNN.png."""
        save_grid(images[:SHOWN], self.path / "images" / f"epoch-{epoch:04d}.png", captions[:SHOWN])

    def write_curves(self) -> None:
        """images/curves.png."""
        save_curves(self.read_metrics(), self.path / "images" / "curves.png")

    def write_evaluation(self, name: str, evaluated: Evaluated) -> None:
        """evaluation/NAME.png, and NAME.json: raw rewards by name and image, with prompts and seeds."""
        captions = [prompt.text for prompt in evaluated.prompts]
        save_grid(evaluated.images[:SHOWN], self.path / "evaluation" / f"{name}.png", captions[:SHOWN])
        content = {"rewards": dict(evaluated.rewards), "prompts": captions, "seeds": list(evaluated.seeds)}
        write_whole(self.path / "evaluation" / f"{name}.json", json.dumps(content))

    def read_rewards(self, name: str) -> ByReward | None:
        file = self.path / "evaluation" / f"{name}.json"
        return json.loads(file.read_text(encoding="utf-8"))["rewards"] if file.exists() else None


def newest_checkpoint(folder: Path) -> Path | None:
    done = checkpoints.found(folder)
    return done[-1] if done else None


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
