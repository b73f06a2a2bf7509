"""Generated projects in environments of their own, which see this one's libraries; and what that takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from environments import environment, install

# The core's own tests must pass without these, so that without one of them, and only then, nothing is collected.
HERE = {
    "uv": shutil.which("uv") is not None,
    "ruff": find_spec("ruff") is not None,
    "mypy": find_spec("mypy") is not None,
    **{f"dagsdk-{name}": bool(entry_points(group="dagsdk", name=name)) for name in ("jpeg", "shapes")},
}
MISSING = sorted(name for name, here in HERE.items() if not here)
collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str | None:
    return f"without tests/scaffold: not installed: {', '.join(MISSING)}" if MISSING else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests recorded, such as the time that a new user takes; also from other processes."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


class Place:
    """A folder outside the source tree, with a virtual environment that sees the libraries of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = environment(folder / "env")
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSDK_", "PYTHON"))}

    def python_m(self, *arguments: str | Path, cwd: Path | None = None, status: int = 0) -> str:
        """What `python -m ARGUMENTS` prints; it must end with that status."""
        command = [self.python, "-m", *arguments]
        done = subprocess.run(
            command, cwd=cwd or self.folder, env=self.environ, capture_output=True, encoding="utf-8", check=False
        )
        shown = f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
        assert done.returncode == status, f"status {done.returncode}, not {status}: {shown}"
        return done.stdout

    def dagsdk(self, *arguments: str | Path, cwd: Path | None = None, status: int = 0) -> str:
        return self.python_m("dagsdk", *arguments, cwd=cwd, status=status)

    def install(self, *arguments: str | Path) -> None:
        install(self.python, *arguments)

    def plugin(self, name: str) -> Any:
        """What `dagsdk plugins --json` says of a plugin."""
        listed = json.loads(self.dagsdk("plugins", "--json"))["plugins"]
        return next(plugin for plugin in listed if plugin["name"] == name)


@pytest.fixture(scope="session")
def mypy_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all projects: most of what mypy reads is dagsdk and torch."""
    return tmp_path_factory.mktemp("mypy")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("outside"))
