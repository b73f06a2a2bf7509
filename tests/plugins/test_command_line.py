from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import click
import pytest

import dagsdk
from dagsdk.cli import main as command_line
from dagsdk.cli.main import VERBS, main
from dagsdk.errors import DagsdkError
from dagsdk.specs import KINDS


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", ["plugins", "plugins --json", "plugins show dag-kl", "--help", "--version", "train --help"]
)
def test_what_only_looks_loads_no_torch(arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSDK_PLUGINS", "")  # what installed plugins import is tested with them
    loaded = loaded_by(f"from dagsdk.cli.main import main; assert main({arguments.split()}) == 0")
    assert "dagsdk" in loaded
    assert not loaded & {"torch", "numpy", "diffusers", "transformers", "accelerate", "peft"}


def test_import_dagsdk_loads_no_torch() -> None:
    loaded = loaded_by("import dagsdk; dagsdk.RewardSpec, dagsdk.Prompt, dagsdk.hookimpl")
    assert "dagsdk" in loaded
    assert not loaded & {"torch", "numpy", "rich", "click"}


def test_json_has_every_plugin_and_every_kind(site: Any, reward: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("sound", "print('hello from an import')\n" + reward("sound"))
    site.add("broken", "1 / 0", version="2.0")
    assert main(["plugins", "--json"]) == 0
    listed = {plugin["name"]: plugin for plugin in json.loads(capsys.readouterr().out)["plugins"]}
    nothing: dict[str, list[str]] = {kind: [] for kind in KINDS}
    assert listed["sound"] == {
        "name": "sound",
        "distribution": "sound",
        "version": "1.0",
        "status": "ok",
        "error": None,
        "provides": {**nothing, "rewards": ["sound"]},
    }
    assert listed["broken"]["error"] == "importing 'site_broken' raised ZeroDivisionError: division by zero"
    assert listed["broken"]["provides"] == nothing
    assert listed["builtin"]["distribution"] == "dagsdk"
    assert listed["builtin"]["provides"]["objectives"] == ["dag-db", "dag-kl"]


def test_the_table_reports_failures_in_one_line(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("broken", f"raise ValueError('[bold]no markup[/bold] {'x' * 200}')")
    assert main(["plugins"]) == 0
    line = "plugin 'broken' (broken 1.0) failed: importing 'site_broken' raised ValueError: [bold]no markup[/bold] "
    assert f"{line}{'x' * 200}\n" in capsys.readouterr().out


def test_show_lists_the_options_of_a_component(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source = '''
from __future__ import annotations
from typing import Literal
import attrs, dagsdk

Side = Literal["left", "right"]

@attrs.frozen
class Base:
    """scale: how much,
        and of what.
    """
    scale: float = 1.5

@attrs.frozen(kw_only=True)
class Options(Base):
    """Options. An unrelated line.

    words, flag: described together.
    """
    words: tuple[str, ...]
    flag: bool = True
    side: Side = "left"

@dagsdk.hookimpl
def dagsdk_rewards():
    yield dagsdk.RewardSpec(
        name="full", summary="A full one", build=print, options=Options, differentiable=True, weights=("o/w",)
    )
'''
    site.add("full-dist", source, entry="full-plugin", metadata="License-Expression: MIT")
    assert main(["plugins", "show", "full"]) == 0
    out = capsys.readouterr().out
    for shown in (
        "reward full: A full one",
        "plugin 'full-plugin' (full-dist 1.0)",
        "licence  MIT",
        "fetches  o/w",
        "differentiable  yes",
        "scale: float = 1.5\n        how much, and of what.",
        "words: tuple[str, ...] (required)\n        described together.",
        "flag: bool = true",
        "side: Literal['left', 'right'] = \"left\"",
    ):
        assert shown in out
    assert "unrelated" not in out


def test_show_lists_what_an_objective_declares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "dag-kl"]) == 0
    out = capsys.readouterr().out
    for shown in ("batches  transitions", "samples  policy", "off-policy  no", "needs    forward-looking, old, "):
        assert shown in out


def test_show_says_why_a_plugin_failed(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("broken", "def deep():\n    1 / 0\ndeep()")
    assert main(["plugins", "show", "broken"]) == 0
    assert "in deep" in capsys.readouterr().out


def test_show_suggests_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "dag-bd"]) == 1
    assert capsys.readouterr().err == "error: no component or plugin is called 'dag-bd'; did you mean 'dag-db'?\n"


def test_strict_plugins_end_the_command(
    site: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("broken", "1 / 0")
    monkeypatch.setenv("DAGSDK_STRICT_PLUGINS", "1")
    assert main(["plugins"]) == 1
    assert "error: 1 plugin failed to load" in capsys.readouterr().err


def test_every_verb_has_a_command() -> None:
    group = command_line.dagsdk
    for verb in VERBS:
        command = group.get_command(click.Context(group), verb)
        assert command is not None
        assert command.name == verb


def test_usage_errors_are_2_and_suggest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tarin"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err
    assert main(["qqqq"]) == 2
    assert "the commands are" in capsys.readouterr().err
    assert main(["plugins", "--no-such-option"]) == 2
    assert main(["plugins", "--json", "show", "dag-db"]) == 2


def raising(error: BaseException) -> click.Command:
    def callback() -> None:
        raise error

    return click.Command("plugins", callback=callback)


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (DagsdkError("the thing is 3; it must be 2"), 1, "error: the thing is 3; it must be 2\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("no"), 2, "Error: no\n"),
        (click.exceptions.Exit(5), 5, ""),
    ],
)
def test_errors_become_statuses_without_traceback(
    error: BaseException,
    status: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command_line.Verbs, "get_command", lambda self, ctx, name: raising(error))
    monkeypatch.delenv("DAGSDK_DEBUG", raising=False)
    assert main(["plugins"]) == status
    err = capsys.readouterr().err
    assert err.endswith(shown)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command_line.Verbs, "get_command", lambda self, ctx, name: raising(DagsdkError("no")))
    monkeypatch.setenv("DAGSDK_DEBUG", "1")
    assert main(["plugins"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line.Verbs, "get_command", lambda self, ctx, name: raising(KeyError("x")))
    with pytest.raises(KeyError):
        main(["plugins"])


def test_python_m_dagsdk_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "dagsdk", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dagsdk, version {dagsdk.__version__}\n"
