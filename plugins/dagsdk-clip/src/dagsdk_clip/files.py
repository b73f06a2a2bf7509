"""Files of weights: from the Hub or this machine, checked before they are believed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dagsdk.errors import RewardError


def fetched(repository: str, file: str, revision: str, *, option: str) -> Path:
    """A file of a Hub repository, from the cache if it is there.

    option: the reward's option that takes a path instead, for the error. Raises RewardError if it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # of the Hub's own classes, of httpx and of the system
        raise RewardError(
            f"{file!r} of {repository!r} on the Hub could not be fetched ({brief(error)}); fetch it where there is a "
            f"network, or set {option!r} to the path of a copy"
        ) from error


def local(path: str | Path, *, option: str, sha256: str = "") -> Path:
    """An existing file, whose SHA-256 is this unless it is empty. Raises RewardError."""
    path = Path(path)
    if not path.is_file():
        raise RewardError(
            f"{option} is {str(path)!r}; there is no such file (relative paths begin at {Path.cwd()}): correct the path"
        )
    if sha256 and (found := digest(path)) != sha256:
        raise RewardError(
            f"{option} is {str(path)!r} with SHA-256 {found}; it must be {sha256}: the file is damaged or another one, "
            "so fetch it again, or correct `sha256`"
        )
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a checkpoint of torch, by name, on the CPU; nothing else is unpickled.

    Raises RewardError for a file that holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file can break the parsers in any way
        raise RewardError(
            f"{str(path)!r} cannot be read as weights ({brief(error)}); it must be a .safetensors file or a checkpoint "
            "of tensors by torch.save: fetch it again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise RewardError(f"{str(path)!r} holds {type(found).__name__}; it must be tensors by name: give another file")
    return found


def brief(error: BaseException) -> str:
    """An error as one line of at most 300 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:297]}..."
