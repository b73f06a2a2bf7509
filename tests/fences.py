"""The fenced blocks and commands of a Markdown page, each in exactly one category.

A `toml` or `python` block whose first line is a comment with nothing but a file name (``# mine.py``) is a file that
the reader is asked to write; later commands of the page find it. `python tests/fences.py PAGE` writes a page's files.
"""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "RELEASING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_FILE = re.compile(r"# (?P<file>[\w./-]+\.(toml|py))")
_MADE = re.compile(r"dagsdk-[\w-]+|test_\w+\.py")


@frozen
class Block:
    """A fenced block. line: where its fence opens, from 1."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def category(self) -> str:
        """file, run, fragment, project, python, commands or shown; unknown for anything else."""
        match self.language:
            case "toml" | "python" if self.file:
                return "file"
            case "toml":
                keys = tomllib.loads(self.text).keys()
                if {"project", "build-system", "tool"} & keys:
                    return "project"
                return "run" if {"output", "model", "rewards", "objective"} <= keys else "fragment"
            case "python":
                return "python"
            case "bash":
                return "commands"
            case "text" | "json" | "mermaid":
                return "shown"
        return "unknown"

    @property
    def file(self) -> str | None:
        match = _FILE.fullmatch(self.text.partition("\n")[0])
        return match["file"] if match else None

    def write(self, folder: Path) -> None:
        """A file block, as that file."""
        path = folder / str(self.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text, encoding="utf-8")

    @property
    def commands(self) -> list[str]:
        """A bash block's commands, comments left out, lines joined at backslashes and split at ``&&``."""
        lines = self.text.replace("\\\n", " ").splitlines()
        uncommented = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return [" ".join(part.split()) for line in uncommented for part in line.split(" && ")]


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        lines = match["text"].splitlines(keepends=True)
        body = "".join(line.removeprefix(match["indent"]) for line in lines)
        found.append(Block(page, text.count("\n", 0, match.start()) + 1, match["language"].strip(), body))
    return found


def tables(page: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Heading to first cell to row (column to cell) of a page's tables. Backticks around a first cell are left out."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    heading, columns = "", []
    for line in _FENCE.sub("", page.read_text(encoding="utf-8")).splitlines():
        if line.startswith("#"):
            heading, columns = line.lstrip("# "), []
        elif not line.startswith("|"):
            columns = []
        else:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            if not columns:
                columns = cells
            elif not cells[0].startswith("-"):
                found.setdefault(heading, {})[cells[0].strip("`")] = dict(zip(columns, cells, strict=True))
    return found


def category(command: str) -> str:
    """Of one command: install, made, session, run, look, script or view; unknown for anything else.

    install: sets up; `nox -s wheel` and a fresh machine try these.
    made: installs, tests or builds a project ``dagsdk-NAME`` or a file ``test_NAME.py`` of the page's own; run, too.
    session: runs the tests themselves.
    run: `dagsdk …`, run by the test of its page.
    look: shows files, run too.
    script: a plugin's own, which may take hours; only its ``--help`` is run.
    view: waits for a person, or for a server, so that it is not run here.
    """
    words = shlex.split(command, comments=True)
    program = words[0].removeprefix(".venv/bin/")
    match [program, *words[1:]]:
        case ["dagsdk", *_]:
            return "run"
        case ["pip", "install", "-e", made] | ["pytest", made] | ["uv", "build", made] if _MADE.fullmatch(made):
            return "made"
        case ["python3" | "python", "-m", "venv", ".venv"] | ["pip", "install", *_] | ["uv", "pip", "install", *_]:
            return "install"
        case ["git", "clone", *_] | ["cd", *_] | ["source", ".venv/bin/activate"] | ["uv", "build", *_]:
            return "install"
        case ["nox" | "pytest", *_]:
            return "session"
        case ["ls" | "cat" | "head", *_]:
            return "look"
        case ["tensorboard" | "uvicorn" | "curl", *_]:
            return "view"
        case ["python", "-m", module, *_] if module.startswith("dagsdk_"):
            return "script"
        case ["python", file, *_] if file.startswith(("tests/benchmarks/", "tests/ground_truth/")):
            return "script"
    return "unknown"


if __name__ == "__main__":
    for found in blocks(Path(sys.argv[1])):
        if found.file:
            found.write(Path())
