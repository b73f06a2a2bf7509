"""An environment for one test: it sees all that this one has, and what the test installs into it besides."""

from __future__ import annotations

import subprocess
import sysconfig
import venv
from pathlib import Path


def environment(folder: Path) -> Path:
    """Makes one in `folder`, without pip, and returns its Python."""
    venv.create(folder, symlinks=True)
    here = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"  # with the .pth files in it
    next(folder.glob("lib/*/site-packages")).joinpath("here.pth").write_text(here, encoding="utf-8")
    return folder / "bin/python"


def install(python: Path, *what: str | Path) -> None:
    """Installs projects or wheels by uv, without what they depend on, which is here already."""
    subprocess.run(["uv", "pip", "install", "--quiet", "-p", python, "--no-deps", *what], check=True)
