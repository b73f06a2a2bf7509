"""Finding and reading files: from a path or from the Hub."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from dagsdk.errors import RewardError

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_LOCAL = (".pt", ".pth", ".safetensors", ".txt")


def locate(option: str, place: str, file: str, revision: str | None = None) -> Path:
    """Where a file is that an option names as itself, by its folder, or by its Hub repository (downloaded if need be).

    option: how the run file calls it, for messages. place: its value. file: the name in a folder or repository.
    Raises RewardError if it is nowhere.
    """
    path = Path(place).expanduser()
    if here := path.is_dir():
        path /= file
    if path.is_file():
        return path
    if here or path.suffix in _LOCAL or not _HUB_ID.fullmatch(place):
        raise RewardError(
            f"reward 'imagereward': {option} is {place!r}, and there is no file {str(path)!r}; give an existing file, "
            f"a folder that holds {file!r}, or a Hub repository (owner/name)"
        )
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(place, file, revision=revision))
    except Exception as error:  # whatever a network can do
        reason = str(error).strip().partition("\n")[0]
        raise RewardError(
            f"reward 'imagereward': {option} is {place!r}, which is neither here nor can be fetched from the Hub with "
            f"its {file!r} ({type(error).__name__}: {reason}); fetch it where there is a network, and give its path"
        ) from error


def check_digest(path: Path, sha256: str) -> None:
    """Raises RewardError unless the file has this digest; "" accepts any."""
    if not sha256:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise RewardError(
            f"reward 'imagereward': the checkpoint {str(path)!r} has the SHA-256 {found} and must have {sha256}; fetch "
            'it again, or set sha256 = "" if these are weights of your own'
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU, mapped from the file where its format allows it.

    Nothing but tensors is unpickled. Raises RewardError for anything else than a table of tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # the libraries raise of many kinds
        reason = str(error).strip().partition("\n")[0]
        raise RewardError(
            f"reward 'imagereward': the checkpoint {str(path)!r} cannot be read ({type(error).__name__}: {reason}); "
            "it must be safetensors, or saved by torch.save and hold tensors only: fetch it again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise RewardError(
            f"reward 'imagereward': the checkpoint {str(path)!r} holds no table of tensors but {type(found).__name__}; "
            "give a state dict, as ImageReward.pt is one"
        )
    return found
