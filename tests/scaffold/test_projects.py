"""Every kind of generated project, unedited: style, types, contract, tests and a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dagsdk.registry import Registry
from dagsdk.scaffold.project import KINDS, LONGEST, module_of, write_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def name(kind: str) -> str:
    return f"my-{kind}"


@pytest.fixture(scope="module")
def project(kind: str, name: str, place: Any) -> Path:
    """Written by the command and installed next to those before it: one as its README says, the others as wheels."""
    printed = place.dagsdk("new", kind, name, "--author", 'Å. "Quoted" Author')
    folder: Path = place.folder / f"dagsdk-{name}"
    assert f"wrote dagsdk-{name}" in printed
    assert (folder / "src" / module_of(name) / KINDS[kind].start).is_file()
    place.install(*(["-e"] if kind == "reward" else []), folder)
    return folder


def test_style(project: Path, place: Any) -> None:
    place.python_m("ruff", "check", "--no-cache", cwd=project)
    place.python_m("ruff", "format", "--check", "--no-cache", cwd=project)


@pytest.mark.parametrize("length", [1, LONGEST])
def test_style_does_not_depend_on_the_name(kind: str, length: int, tmp_path: Path, place: Any) -> None:
    project = write_project(kind, "x" * length, Registry(()), folder=tmp_path / "made")
    place.python_m("ruff", "check", "--no-cache", cwd=project)
    place.python_m("ruff", "format", "--check", "--no-cache", cwd=project)


def test_types(project: Path, place: Any, mypy_cache: Path) -> None:
    assert "Success" in place.python_m("mypy", "--cache-dir", mypy_cache, cwd=project)


def test_it_is_found(project: Path, name: str, kind: str, place: Any) -> None:
    plugin = place.plugin(name)
    assert (plugin["status"], plugin["distribution"], plugin["error"]) == ("ok", f"dagsdk-{name}", None)
    provided = {kind: names for kind, names in plugin["provides"].items() if names}
    assert provided == {KINDS[kind].registered: [name]}


def test_its_own_tests_pass(project: Path, place: Any) -> None:
    printed = place.python_m("pytest", "-p", "no:cacheprovider", cwd=project)
    assert " passed" in printed
    assert "failed" not in printed
    assert "xfailed" not in printed


def test_it_trains(project: Path, name: str, place: Any) -> None:
    assert "held-out reward" in place.dagsdk("train", "run.toml", cwd=project)
    lines = (project / "runs" / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [json.loads(line) for line in lines]
    assert [line["epoch"] for line in metrics] == list(range(1, len(metrics) + 1))
    assert len(metrics) >= 2
    assert metrics[-1]["grad_norm/policy"] > 0
    assert "evaluate/gain" in metrics[-1]


def test_its_run_is_sampled(project: Path, name: str, place: Any) -> None:
    place.dagsdk("sample", f"runs/{name}", "--prompt", "a red circle", "--out", "samples", cwd=project)
    assert (project / "samples" / "00000.png").is_file()


def test_the_name_is_taken_now(project: Path, kind: str, name: str, place: Any) -> None:
    printed = place.python_m("dagsdk", "new", kind, name, "--folder", "again", status=1)
    assert printed == ""
    assert not (place.folder / "again").exists()
