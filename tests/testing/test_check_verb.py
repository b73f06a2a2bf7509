"""`dagsdk plugins check NAME`: the contract on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagsdk.cli.main import main


def check(*arguments: str) -> int:
    return main(["plugins", "check", *arguments])


def placed(source: str) -> str:
    """The sound reward, made to depend on the place in the batch."""
    return source.replace("images.mean(dim=(1, 2, 3))", "images.mean(dim=(1, 2, 3)).detach() + i(images)").replace(
        "def build", "def i(images):\n    import torch\n    return 0.1 * torch.arange(len(images))\n\ndef build"
    )


def test_a_component_is_checked_rule_by_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("dag-db") == 0
    out = capsys.readouterr().out
    assert out.startswith("objective dag-db\n  ok ")
    assert "failed" not in out


def test_a_plugin_is_checked_with_its_components(site: Any, reward: Any, capsys: pytest.CaptureFixture[str]) -> None:
    site.add("tried", reward("a-reward"), requires=("dagsdk>=0.1,<0.2",), metadata="License-Expression: MIT")
    assert check("tried") == 1
    out = capsys.readouterr().out
    assert out.startswith("plugin 'tried' (tried 1.0)\n  ok      loads: ")
    assert "reward a-reward\n" in out
    assert "  FAIL    gradients_are_as_declared: reward 'a-reward' returned rewards with a gradient" in out
    assert out.endswith(", 1 failed, 1 skipped\n")


UNDOCUMENTED = """
import attrs

@attrs.frozen
class Options:
    scale: float = 1.0
"""


def test_a_private_package_that_works_passes_with_warnings(
    site: Any, reward: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    options = 'summary="A sound reward", build=build, options=Options, differentiable=True'
    site.add("private", UNDOCUMENTED + reward("mine").replace('summary="A sound reward", build=build', options))
    assert check("private") == 0
    out = capsys.readouterr().out
    warned = [line for line in out.splitlines() if line.startswith("  WARN  ")]
    assert [line.split()[1] for line in warned] == [
        "bounds_the_core:",
        "licence_is_declared:",
        "options_are_documented:",
    ]
    assert "its distribution requires no dagsdk" in warned[0]
    assert "its metadata names no licence" in warned[1]
    assert "options scale have no line" in warned[2]
    assert "FAIL" not in out
    assert out.endswith(" passed, 3 warned\n")

    assert check("private", "--strict") == 1
    out = capsys.readouterr().out
    assert out.count("  FAIL    ") == 3
    assert "WARN" not in out
    assert out.endswith(" passed, 3 failed\n")


def test_a_local_file_is_given_by_its_path(tmp_path: Path, reward: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(placed(reward("mine")), encoding="utf-8")
    assert check(str(path)) == 1
    assert "FAIL    order_does_not_matter" in capsys.readouterr().out
    assert check(str(path), "--except", "order_does_not_matter=a series of drawings") == 0
    assert "except  order_does_not_matter: a series of drawings" in capsys.readouterr().out
    assert check(str(path), "--except", "rewards_are_float32=no") == 1
    assert "but the rule is kept" in capsys.readouterr().out


def test_options_are_given_and_their_mistakes_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("texts") == 0
    assert "not checked: it needs texts; use `dagsdk plugins check texts --set texts=...`" in capsys.readouterr().out
    assert check("texts", "--set", 'texts=["a", "b"]') == 0
    assert "passed" in capsys.readouterr().out
    assert check("dag-db", "--set", "bta=1") == 1
    assert "bta: unknown key; did you mean 'beta'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["dag-bd"], 1, "no component or plugin is called 'dag-bd'"),
        (["./nowhere.py"], 1, "plugin file './nowhere.py' cannot be read"),
        (["dag-db", "--except", "a_batch_of_one"], 2, "has no reason"),
        (["dag-db", "--except", "a_bach_of_one=x"], 1, "did you mean 'a_batch_of_one'?"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(*arguments) == status
    assert says in capsys.readouterr().err


def test_what_cannot_be_built_is_reported_once(tmp_path: Path, reward: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    source = reward("mine").replace("def build(options, context):", "def build(options, context):\n    1 / 0")
    path.write_text(source, encoding="utf-8")
    assert check(str(path)) == 1
    out = capsys.readouterr().out
    assert out.count("ZeroDivisionError") == 1
    assert "  FAIL    builds: it raised ZeroDivisionError: division by zero\n" in out
