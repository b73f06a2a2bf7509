"""The files that hosts and tools read can be read by them, and name what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fences import ROOT

import dagsdk

yaml = pytest.importorskip("yaml")

YAML_FILES = [
    *sorted((ROOT / ".github").rglob("*.yml")),
    ROOT / ".pre-commit-config.yaml",
    ROOT / "CITATION.cff",
]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
FORMS = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def name(folder: Path) -> str:
    return str(project(folder)["name"])


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_it_can_be_read(path: Path) -> None:
    assert isinstance(read(path), dict)


def test_continuous_integration_runs_the_readmes_command() -> None:
    [job] = read(ROOT / ".github/workflows/ci.yml")["jobs"].values()
    [command] = [step["run"] for step in job["steps"] if "run" in step]
    assert (ROOT / command).is_file()
    [versions] = [step["with"]["python-version"].split() for step in job["steps"] if "setup-python" in str(step)]
    classifiers = project(ROOT)["classifiers"]
    assert all(f"Programming Language :: Python :: {version}" in classifiers for version in versions)


def test_pre_commit_runs_the_tools_of_the_lint_session() -> None:
    repositories = read(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"] for repository in repositories for hook in repository["hooks"]}
    assert hooks == {"ruff", "ruff-format", "codespell"}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms_have_what_a_form_needs(path: Path) -> None:
    form = read(path)
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["type"] in ("textarea", "dropdown") and field["attributes"]["label"] for field in form["body"])


def test_the_citation_is_of_this_version_and_names_the_papers() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == dagsdk.__version__
    assert citation["license"] == project(ROOT)["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project(ROOT)["authors"]]
    papers = {reference["url"].rpartition("/")[2]: reference for reference in citation["references"]}
    assert {"2406.00633", "2503.11240", "2305.13301", "2412.07775"} <= papers.keys()
    assert all(paper["title"] and paper["authors"] and paper["year"] for paper in papers.values())


def test_releasing_names_every_package_after_those_that_it_requires() -> None:
    text = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    order = re.findall(r"`(dagsdk[\w-]*)`", text.partition("## Order")[2].partition("##")[0])
    places = {package: order.index(package) for package in order}  # the first mention counts
    assert places.keys() == set(map(name, PROJECTS))
    for folder in PROJECTS:
        required = {re.split(r"[<>=!~;\[ ]", line)[0] for line in project(folder)["dependencies"]}
        assert all(places[other] < places[name(folder)] for other in required & places.keys() - {name(folder)})


def test_every_plugin_accepts_this_version_of_the_core() -> None:
    from packaging.requirements import Requirement

    for folder in PROJECTS[1:]:
        [wanted] = [r for r in map(Requirement, project(folder)["dependencies"]) if r.name == "dagsdk"]
        assert wanted.specifier.contains(dagsdk.__version__), folder.name
        assert any(specifier.operator == "<" for specifier in wanted.specifier), folder.name
