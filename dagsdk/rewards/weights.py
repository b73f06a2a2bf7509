"""Files of weights, on this machine or on the Hub: found, checked, and read without running any code in them."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from dagsdk.errors import RewardError, brief

if TYPE_CHECKING:
    from torch import Tensor

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_SUFFIXES = (".bin", ".pt", ".pth", ".safetensors", ".txt")
"""With one of these, "owner/name" is the path of a file and no repository."""


def load_weights(
    place: str | Path, *, option: str, file: str = "", revision: str | None = None, sha256: str = ""
) -> dict[str, Tensor]:
    """The tensors of a file, by name, on the CPU: `read_weights` of `find_weights`, with the arguments of the latter.

    Raises RewardError for a file that is missing, damaged, or holds anything but tensors.
    """
    return read_weights(find_weights(place, option=option, file=file, revision=revision, sha256=sha256))


def find_weights(
    place: str | Path, *, option: str, file: str = "", revision: str | None = None, sha256: str = ""
) -> Path:
    """The path of a file that an option of a reward names.

    place: a file, a folder that holds `file`, or a Hub repository ("owner/name") that holds `file`. From the Hub it is
        fetched, unless a copy is in the Hub's cache.
    option: what the run file calls the option, for errors.
    revision: a branch, tag or commit of the repository; None means its main branch.
    sha256: the file's digest, 64 hexadecimal digits; "" means that it is not checked.

    Raises RewardError where there is no such file, it cannot be fetched, or its digest is another.
    """
    path = Path(place).expanduser()
    if in_folder := bool(file) and path.is_dir():
        path /= file
    if not path.is_file():
        remote = file and not in_folder and path.suffix not in _SUFFIXES and _HUB_ID.fullmatch(str(place))
        if not remote:
            others = f", a folder that holds {file!r}, or a Hub repository (owner/name)" if file else ""
            raise RewardError(
                f"{option} is {str(place)!r}; there is no file {str(path)!r} (relative paths begin at "
                f"{Path.cwd()}): give an existing file{others}"
            )
        path = _fetched(str(place), file, revision, option)
    if sha256 and (found := digest(path)) != sha256:
        raise RewardError(
            f"{option} is {str(place)!r}, where {path.name!r} has the SHA-256 {found}; it must be {sha256}: the file "
            "is damaged or another one, so fetch it again, or correct `sha256`"
        )
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a dict saved by torch.save, by name, on the CPU.

    They are mapped from the file where its format allows it. Nothing but tensors is unpickled. Raises RewardError for a
    file that cannot be read so, or holds anything else.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # a damaged file can make the parsers raise anything
        raise RewardError(
            f"{str(path)!r} cannot be read as weights ({brief(error)}); it must be a .safetensors file, or tensors "
            "saved by torch.save: fetch it again"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise RewardError(f"{str(path)!r} holds {_kinds(found)}; it must be tensors by name: give another file")
    return found


def digest(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetched(repository: str, file: str, revision: str | None, option: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # of the Hub's own classes, of httpx, and of the system
        raise RewardError(
            f"{file!r} of {repository!r} on the Hub could not be fetched ({brief(error)}); fetch it where there is a "
            f"network, and set {option!r} to the path of a copy"
        ) from error


def _kinds(found: object) -> str:
    """``list``, or ``a dict of dict, int``."""
    if not isinstance(found, dict):
        return type(found).__name__
    return f"a dict of {', '.join(sorted({type(value).__name__ for value in found.values()}))}"
