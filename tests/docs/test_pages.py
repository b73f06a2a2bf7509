"""Whatever the pages ask a reader to type is tried here, and whatever they show is checked."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from environments import environment
from fences import PAGES, ROOT, Block, blocks, category

from dagsdk.config.files import load_run, local_plugins, structure_run
from dagsdk.registry import load_registry

BLOCKS = [block for page in PAGES for block in blocks(page)]

# What is added to every `dagsdk train` of a page: the run is the page's, only smaller.
SMALL = (
    "train.epochs=1",
    "train.trajectories=4",
    "train.updates=1",
    "train.transitions=0",
    "rollout.steps=4",
    "evaluate.samples=2",
)


def where(value: Block | Path) -> str:
    return value.where if isinstance(value, Block) else str(value.relative_to(ROOT))


def commands(name: str) -> list[Any]:
    found = [(block, command) for block in BLOCKS if block.category == "commands" for command in block.commands]
    return [
        pytest.param(command, id=f"{block.where} {command[:40]}")
        for block, command in found
        if category(command) == name
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=where)
def test_every_block_and_command_has_a_category(block: Block) -> None:
    assert block.category != "unknown", f"{block.language!r}; it must be bash, python, toml, text, json or mermaid"
    if block.category == "commands":
        unknown = [command for command in block.commands if category(command) == "unknown"]
        assert not unknown, f"give them a category in tests/fences.py, and a test that fits: {unknown}"


def test_the_readme_has_the_two_commands() -> None:
    first, tests = (block for block in blocks(ROOT / "README.md") if ".venv" in block.text)
    assert "dagsdk train docs/examples/quickstart.toml" in first.text
    assert tests.commands[-1] == ".venv/bin/nox"
    assert tests.text.strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("command", commands("install"))
def test_installs_what_is_there(command: str) -> None:
    words = shlex.split(command)
    for option, target in pairwise(words):
        if option == "-e":
            assert (ROOT / target / "pyproject.toml").is_file(), f"{target} is no project"


@pytest.mark.parametrize("command", commands("session"))
def test_names_sessions_that_exist(command: str) -> None:
    sessions = re.findall(r"^def ([a-z]\w*)\(session", (ROOT / "noxfile.py").read_text(encoding="utf-8"), re.M)
    words = shlex.split(command)
    if "-s" in words:
        asked = [word for word in words[words.index("-s") + 1 :] if not word.startswith(("-", "tests/"))]
        assert {re.sub(r"-3\.\d+$|\(.*\)$", "", name) for name in asked} <= set(sessions)
    assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize("command", commands("script"))
def test_scripts_start_and_know_their_options(command: str) -> None:
    words = shlex.split(command)
    options = [word for word in words if word.startswith("--")]
    program = words[1:3] if words[1] == "-m" else words[1:2]
    asked = [sys.executable, *program, "--help"]
    shown = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(option in shown for option in options)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.category in ("run", "fragment")], ids=where)
def test_run_files_are_sound(block: Block) -> None:
    """A whole run as it stands; a fragment put into the quickstart's run."""
    tables = tomllib.loads(block.text)
    if block.category == "fragment":
        tables = tomllib.loads((ROOT / "docs/examples/quickstart.toml").read_text(encoding="utf-8")) | tables
    structure_run(tables, load_registry(local_plugins(tables)), source=block.where)


@pytest.mark.parametrize("path", sorted((ROOT / "docs/examples").glob("*.toml")), ids=where)
def test_examples_are_sound(path: Path) -> None:
    tables = load_run(path)
    structure_run(tables, load_registry(local_plugins(tables)), source=where(path))


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.category == "project"], ids=where)
def test_project_files_name_a_build_backend(block: Block) -> None:
    tables = tomllib.loads(block.text)
    assert "project" not in tables or "build-system" in tables


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_a_reader_can_follow(page: Path, tmp_path: Path) -> None:
    """The page from top to bottom, in one folder, next to the checkout's docs and plugins."""
    for name in ("docs", "plugins", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = interpreter(page, tmp_path)
    for number, block in enumerate(blocks(page)):
        match block.category:
            case "file":
                block.write(tmp_path)
            case "python":
                script = tmp_path / f"block-{number}.py"
                script.write_text(block.text, encoding="utf-8")
                follow(block, [python, script.name], tmp_path)
            case "commands":
                for command in block.commands:
                    if category(command) in ("run", "look", "made"):
                        follow(block, typed(command, python), tmp_path)


def interpreter(page: Path, folder: Path) -> str:
    """Python for a page: this one, or, if the page installs what it makes, one that sees what this one has."""
    found = (command for block in blocks(page) if block.category == "commands" for command in block.commands)
    own = any(category(command) == "made" for command in found)
    return str(environment(folder / ".venv")) if own else sys.executable


def typed(command: str, python: str) -> list[str]:
    """What is run for a command: the same, by that Python; training is made small."""
    words = shlex.split(command, comments=True)
    match [words[0].removeprefix(".venv/bin/"), *words[1:]]:
        case ["dagsdk", "train", *rest]:
            return [python, "-m", "dagsdk", "train", *rest, *(word for key in SMALL for word in ("--set", key))]
        case ["dagsdk", *rest]:
            return [python, "-m", "dagsdk", *rest]
        case ["pytest", *rest]:
            return [python, "-m", "pytest", *rest]
        case ["pip", "install", *rest]:
            return ["uv", "pip", "install", "-p", python, "--no-deps", *rest]
    return words


def follow(block: Block, words: list[str], folder: Path) -> None:
    environ = {**os.environ, "DAGSDK_STRICT_PLUGINS": "1"}
    done = subprocess.run(words, cwd=folder, env=environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{block.where}: {shlex.join(words)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=where)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)#\s]+)", prose) + re.findall(r'src="([^"]+)"', prose)
    local = [link for link in links if not re.match(r"\w+:", link)]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing, f"{where(page)} links to nothing at {missing}"
