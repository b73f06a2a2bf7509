from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import attrs
import pytest

from dagsdk.errors import PluginError
from dagsdk.plugins import discover, load_file
from dagsdk.registry import Registry


def write(path: Path, source: str) -> Path:
    path.write_text(source, encoding="utf-8")
    return path


def test_a_file_is_a_plugin_and_its_bytes_are_recorded(tmp_path: Path, reward: Any) -> None:
    path = write(tmp_path / "mine.py", reward("mine"))
    plugin = load_file(path)
    assert plugin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [spec.name for spec in plugin.provides["rewards"]] == ["mine"]
    assert plugin.provider == f"mine.py sha256 {plugin.sha256}"
    assert not (tmp_path / "__pycache__").exists()


def test_files_of_one_name_are_different_plugins(tmp_path: Path, reward: Any) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "mine.py", reward(f"from-{folder}")))
    registry = Registry(discover(files=paths, entry_points=(), environ={}))
    assert registry.names("rewards") == ("from-a", "from-b")


def test_an_edited_file_is_loaded_anew_and_an_unchanged_one_is_not(tmp_path: Path, reward: Any) -> None:
    path = write(tmp_path / "mine.py", reward("one"))
    first = load_file(path).provides["rewards"][0]
    assert load_file(path).provides["rewards"][0].build is first.build
    write(path, reward("two"))  # same size, same second: a bytecode cache would not notice
    assert load_file(path).provides["rewards"][0].name == "two"


def test_annotations_written_as_text_can_be_resolved(tmp_path: Path) -> None:
    source = """
from __future__ import annotations
import attrs, dagsdk

@attrs.frozen
class Inner:
    x: int = 0

@attrs.frozen
class Options:
    inner: Inner = Inner()

@dagsdk.hookimpl
def dagsdk_prompts():
    yield dagsdk.PromptSpec(name="p", summary="P", build=print, options=Options)
"""
    options = load_file(write(tmp_path / "mine.py", source)).provides["prompts"][0].options
    assert attrs.fields(attrs.resolve_types(options)).inner.type.__name__ == "Inner"


@pytest.mark.parametrize(
    ("source", "cause", "reason"),
    [
        (None, FileNotFoundError, "cannot be read"),
        ("1 / 0", ZeroDivisionError, "raised ZeroDivisionError"),
        ("raise SystemExit(0)", SystemExit, "raised SystemExit"),
        ("def (", SyntaxError, "raised SyntaxError"),
        ("import dagsdk\n@dagsdk.hookimpl\ndef dagsdk_rewards(): {}['x']", KeyError, "raised KeyError"),
        ("x = 1", PluginError, "registers no hook"),
    ],
)
def test_a_broken_file_is_an_error_with_its_cause(
    source: str | None, cause: type[BaseException], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    if source is not None:
        write(path, source)
    with pytest.raises(PluginError, match=reason) as caught:
        discover(files=[path], entry_points=(), environ={})
    assert isinstance(caught.value.__cause__, cause)
    assert "mine.py" in str(caught.value)


def test_a_file_that_takes_an_installed_name_is_an_error(tmp_path: Path, site: Any, reward: Any) -> None:
    site.add("installed", reward("taken"))
    path = write(tmp_path / "mine.py", reward("taken"))
    with pytest.raises(PluginError, match=r"'taken' is provided by plugin 'installed' \(installed 1.0\).*mine.py"):
        discover(files=[path], entry_points=site.entry_points(), environ={})
