"""Checkpoints: everything that a run needs to continue with the same bits. Safetensors and JSON, never pickle.

A checkpoint is a folder that is written under another name and renamed when it is complete, so a visible one is whole.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dagsdk.errors import RunFolderError

STATE = "state.json"
FORMAT = 1
_NAME = re.compile(r"epoch-(\d{4,})")
_UNFINISHED = ".unfinished-"

Tree = Any
"""Nested dicts, lists and tuples of tensors, numbers, strings, booleans and None."""


def save(
    folder: Path,
    epoch: int,
    sections: Mapping[str, Tree],
    provenance: Mapping[str, Any],
    also: Callable[[Path], None],
) -> Path:
    """Writes `folder`/epoch-NNNN, whole or not at all, and returns it.

    sections: each becomes NAME.safetensors (its tensors, if any) and an entry of state.json (the rest).
    also: writes further files into the folder that it is given, such as the adapter.
    """
    target = folder / f"epoch-{epoch:04d}"
    draft = folder / f"{_UNFINISHED}{target.name}"
    discard_unfinished(folder)
    draft.mkdir(parents=True)
    rest = {}
    for name, tree in sections.items():
        tensors: dict[str, Tensor] = {}
        rest[name] = _strip(tree, name, tensors)
        if tensors:
            save_file(tensors, draft / f"{name}.safetensors")
    also(draft)
    state = {"format": FORMAT, "epoch": epoch, "provenance": dict(provenance), "sections": rest}
    (draft / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    for file in draft.rglob("*"):
        if file.is_file():
            sync(file)
    if target.exists():
        shutil.rmtree(target)
    draft.rename(target)
    sync(folder)
    return target


def load(checkpoint: Path) -> tuple[int, dict[str, Tree], dict[str, Any]]:
    """Epoch, sections and provenance of a checkpoint. Raises RunFolderError where it cannot be read."""
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise RunFolderError(
                f"checkpoint {checkpoint} has format {state['format']}; this version reads {FORMAT}; "
                "continue with the version of dagsdk that wrote it"
            )
        sections = {}
        for name, tree in state["sections"].items():
            file = checkpoint / f"{name}.safetensors"
            sections[name] = _fill(tree, load_file(file) if file.exists() else {})
        return state["epoch"], sections, state["provenance"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise RunFolderError(
            f"checkpoint {checkpoint} cannot be read ({type(error).__name__}: {error}); it must be as it was written; "
            "delete this folder to continue from the one before it"
        ) from error


def found(folder: Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first."""
    if not folder.is_dir():
        return []
    numbered = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered)]


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints; 0 keeps all."""
    for old in found(folder)[:-keep] if keep else []:
        shutil.rmtree(old)


def discard_unfinished(folder: Path) -> None:
    """Removes what a killed process left half-written."""
    for draft in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(draft)


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk, so that a rename never overtakes its contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _strip(tree: Tree, path: str, tensors: dict[str, Tensor]) -> Tree:
    """The tree as JSON, with its tensors moved to `tensors` under their paths."""
    match tree:
        case Tensor():
            tensors[path] = tree.detach().cpu().contiguous().clone()
            return {"tensor": path}
        case Mapping():
            return {"map": [[key, _strip(value, f"{path}.{key}", tensors)] for key, value in tree.items()]}
        case list() | tuple():
            return {"list": [_strip(value, f"{path}.{i}", tensors) for i, value in enumerate(tree)]}
        case None | bool() | int() | float() | str():
            return tree
        case _:
            raise RunFolderError(
                f"state {path} is a {type(tree).__name__}; a checkpoint holds tensors, numbers, strings, lists and "
                "dicts; convert it in the component's state_dict"
            )


def _fill(tree: Tree, tensors: Mapping[str, Tensor]) -> Tree:
    match tree:
        case {"tensor": path}:
            return tensors[path]
        case {"map": items}:
            return {key: _fill(value, tensors) for key, value in items}
        case {"list": items}:
            return [_fill(value, tensors) for value in items]
        case _:
            return tree
