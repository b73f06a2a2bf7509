"""Writing a plugin project: names, folders, and what the templates hold. That they work is for tests/scaffold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import dagsdk
from dagsdk.cli.main import main
from dagsdk.errors import DagsdkError
from dagsdk.registry import Registry, load_registry
from dagsdk.scaffold.project import KINDS, LONGEST, core_range, placeholders, rendered, write_project
from dagsdk.specs import KINDS as REGISTERED

NOBODY = Registry(())
SHORT, LONG = "q", "long-" + "x" * (LONGEST - 5)


def written(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def test_every_kind_has_a_template() -> None:
    assert {kind.registered for kind in KINDS.values()} == set(REGISTERED)


@pytest.mark.parametrize("name", [SHORT, "3d", LONG])
@pytest.mark.parametrize("kind", KINDS)
def test_a_project_is_whole(kind: str, name: str, tmp_path: Path) -> None:
    folder = write_project(kind, name, NOBODY, folder=tmp_path / "made")
    files, module = written(folder), f"dagsdk_{name.replace('-', '_')}"
    start = f"src/{module}/{KINDS[kind].start}"
    test = f"tests/test_{name.replace('-', '_')}.py"
    wanted = {"pyproject.toml", "README.md", "LICENSE", "noxfile.py", "run.toml", ".gitignore", start, test}
    assert wanted | {f"src/{module}/__init__.py", f"src/{module}/py.typed"} <= set(files)
    for path, text in files.items():
        assert ".tmpl" not in path
        assert "$" not in text, path
        assert "MODULE" not in path + text
        if path.endswith(".py"):
            ast.parse(text)
        for table in [text] if path.endswith(".toml") else re.findall(r"```toml\n(.*?)```", text, re.DOTALL):
            tomllib.loads(table)


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_says_what_it_is_and_what_it_needs(kind: str, tmp_path: Path) -> None:
    author = 'Å. "Quoted" \\ Author'
    folder = write_project(kind, "sharp-edges", NOBODY, folder=tmp_path / "made", author=author)
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "dagsdk-sharp-edges"
    assert project["entry-points"]["dagsdk"] == {"sharp-edges": "dagsdk_sharp_edges"}
    assert project["authors"] == [{"name": author}]
    assert author in (folder / "LICENSE").read_text("utf-8")
    [core] = [r for r in map(Requirement, project["dependencies"]) if r.name == "dagsdk"]
    assert core.specifier.contains(dagsdk.__version__)
    assert not core.specifier.contains("99.0")


@pytest.mark.parametrize("kind", KINDS)
def test_the_run_file_names_the_component(kind: str) -> None:
    texts = {str(path): text for path, text in rendered(kind, placeholders(kind, "sharp", "A")).items()}
    run = tomllib.loads(texts["run.toml"])
    section = {"reward": "rewards"}.get(kind, kind)
    table = run[section][0] if kind == "reward" else run[section]
    assert table["name"] == "sharp"
    for option in set(table) - {"name", "lora", "steps", "guidance_scale"}:
        assert f"`{option}`" in texts["README.md"], f"{option} is not in the README's table"


@pytest.mark.parametrize(
    ("version", "wanted"),
    [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("2.1.4", ">=2.1,<3"), ("0.3.0.dev1", ">=0.3.dev0,<0.4")],
)
def test_the_range_holds_the_core_that_wrote_it(version: str, wanted: str) -> None:
    assert core_range(version) == wanted
    assert Requirement(f"dagsdk{wanted}").specifier.contains(version, prereleases=True)


@pytest.mark.parametrize(
    "name", ["", "Sharp", "sharp_edges", "-sharp", "sharp-", "a--b", "ä", "a.b", "a/b", "..", "x" * (LONGEST + 1)]
)
def test_a_bad_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DagsdkError, match=r"lower-case letters, digits and single hyphens.*dagsdk new reward"):
        write_project("reward", name, NOBODY, folder=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_the_prefix_comes_by_itself(tmp_path: Path) -> None:
    with pytest.raises(DagsdkError, match="`dagsdk new reward sharp`"):
        write_project("reward", "dagsdk-sharp", NOBODY, folder=tmp_path / "made")


@pytest.mark.parametrize(
    ("kind", "name", "printed"),
    [
        ("objective", "dag-db", r"objective 'dag-db' is provided by plugin 'builtin'"),
        ("prompts", "texts", r"prompt set 'texts' is provided by plugin 'builtin'"),
        ("reward", "builtin", r"the name 'builtin' is that of plugin 'builtin'"),
    ],
)
def test_a_name_that_is_taken_names_its_provider(kind: str, name: str, printed: str, tmp_path: Path) -> None:
    with pytest.raises(DagsdkError, match=printed):
        write_project(kind, name, load_registry(), folder=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_name_of_another_kind_is_free(tmp_path: Path) -> None:
    write_project("reward", "texts", load_registry(), folder=tmp_path / "made")


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DagsdkError, match="kind is 'hat'; it must be one of reward, prompts"):
        write_project("hat", "sharp", NOBODY, folder=tmp_path / "made")


@pytest.mark.parametrize("author", ["", "  ", "two\nlines", "bell\a"])
def test_an_author_is_one_line(author: str, tmp_path: Path) -> None:
    with pytest.raises(DagsdkError, match="author is"):
        write_project("reward", "sharp", NOBODY, folder=tmp_path / "made", author=author)


def test_a_folder_with_something_in_it_stays_as_it_was(tmp_path: Path) -> None:
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine", "utf-8")
    file.write_text("mine", "utf-8")
    for taken in (full, file):
        with pytest.raises(DagsdkError, match="exists and is not an empty folder"):
            write_project("reward", "sharp", NOBODY, folder=taken)
    assert written(tmp_path) == {"full/mine.txt": "mine", "file": "mine"}


def test_an_empty_folder_and_one_whose_parents_are_missing_will_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        assert write_project("reward", "sharp", NOBODY, folder=folder) == folder
        assert (folder / "pyproject.toml").is_file()


def test_a_project_that_cannot_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, count = Path.write_text, 0

    def failing(self: Path, *rest: object, **options: object) -> int:
        nonlocal count
        count += 1
        if count == 4:
            raise OSError(28, "No space left on device")
        return write(self, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", failing)
    with pytest.raises(DagsdkError, match=r"cannot be written \(No space left"):
        write_project("reward", "sharp", NOBODY, folder=tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_forgotten_placeholder_is_an_error() -> None:
    values = placeholders("reward", "sharp", "A")
    for name in set(values) - {"kind", "words"}:
        with pytest.raises(KeyError, match=name):
            rendered("reward", {key: value for key, value in values.items() if key != name})


def test_the_command_writes_here_and_names_three_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "reward", "sharp"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "wrote dagsdk-sharp; its reward is in dagsdk-sharp/src/dagsdk_sharp/reward.py"
    assert printed[2:] == [
        "  cd dagsdk-sharp && pip install -e . pytest",
        "  pytest",
        "  dagsdk train run.toml",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["dagsdk-sharp"]


def test_errors_of_the_command_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "objective", "dag-db", "--folder", str(tmp_path / "made")]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: objective 'dag-db' is provided by")
    assert main(["new", "hat", "sharp"]) == 2


def test_writing_loads_no_torch(tmp_path: Path) -> None:
    code = "import sys; from dagsdk.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "new", "model", "mine"]
    done = subprocess.run(command, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "dagsdk-mine").is_dir()
