"""Each rule of the plugin contract is caught by its own check, and by no other, in a plugin that breaks just it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dagsdk.testing.check import name_of, outcomes
from dagsdk.testing.plugin_checks import PLUGIN_CHECKS, PluginCase

LICENCE = "License-Expression: MIT"
BOUND = ("dagsdk>=0.1,<0.2",)


def statuses(plugin: str, *, strict: bool = True) -> dict[str, tuple[str, str]]:
    found = outcomes(PLUGIN_CHECKS, PluginCase(plugin=plugin), {}, strict=strict)
    return {outcome.check: (outcome.status, outcome.message) for outcome in found}


def failing(plugin: str) -> dict[str, str]:
    return {check: message for check, (status, message) in statuses(plugin).items() if status == "failed"}


def test_a_sound_plugin_passes(site: Any, reward: Any) -> None:
    site.add("sound", reward("sound"), requires=BOUND, metadata=LICENCE)
    assert {status for status, _ in statuses("sound").values()} == {"passed"}


NOTHING = "import dagsdk\n@dagsdk.hookimpl\ndef dagsdk_rewards():\n    return ()\n"

BROKEN = {
    "loads": ("1 / 0", BOUND, LICENCE, "ZeroDivisionError"),
    "provides_something": (NOTHING, BOUND, LICENCE, "provides nothing"),
    "discovery_is_light": ("import numpy\nREWARD", BOUND, LICENCE, "loads numpy"),
    "discovery_is_quiet": ("print('hello')\nREWARD", BOUND, LICENCE, "prints 'hello'"),
    "stays_out_of_the_engine": (
        "def late():\n    from dagsdk.engine import sampler\nREWARD",
        BOUND,
        LICENCE,
        "line 2, imports dagsdk.engine.sampler",
    ),
    "bounds_the_core": ("REWARD", ("dagsdk>=0.1",), LICENCE, 'require a range such as "dagsdk>=0.1,<0.2"'),
    "licence_is_declared": ("REWARD", BOUND, "", "names no licence"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_fails_the_check_of_its_rule_only(name: str, site: Any, reward: Any) -> None:
    source, requires, metadata, message = BROKEN[name]
    site.add("broken", source.replace("REWARD", reward("broken")), requires=requires, metadata=metadata)
    found = failing("broken")
    assert message in found[name]
    # one that cannot be imported provides nothing, either
    assert set(found) - ({"provides_something"} if name == "loads" else set()) == {name}


def test_every_check_is_tested() -> None:
    assert {name_of(check) for check in PLUGIN_CHECKS} == set(BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_only_what_a_published_package_should_have_is_a_warning(name: str, site: Any, reward: Any) -> None:
    source, requires, metadata, _ = BROKEN[name]
    site.add("broken", source.replace("REWARD", reward("broken")), requires=requires, metadata=metadata)
    status, _ = statuses("broken", strict=False)[name]
    assert status == ("warned" if name in ("bounds_the_core", "licence_is_declared") else "failed")


@pytest.mark.parametrize(
    "package", ["builtin", "engine", "evaluation", "run", "testing", "scaffold", "cli", "api", "run.checkpoints"]
)
def test_every_private_package_is_out_of_bounds(package: str, site: Any, reward: Any) -> None:
    source = f"def late():\n    import dagsdk.{package}\n{reward('broken')}"
    site.add("broken", source, requires=BOUND, metadata=LICENCE)
    assert f"imports dagsdk.{package}, which may change" in failing("broken")["stays_out_of_the_engine"]


def test_protocols_and_mathematics_may_be_imported(site: Any, reward: Any) -> None:
    public = ("objectives.toolbox", "process.path", "models.base", "rewards.vision", "specs", "errors")
    source = "def late():\n" + "".join(f"    import dagsdk.{module}\n" for module in public) + reward("sound")
    site.add("sound", source, requires=BOUND, metadata=LICENCE)
    assert not failing("sound")


def test_a_collision_is_caught(site: Any, reward: Any) -> None:
    site.add("first", reward("same"), requires=BOUND, metadata=LICENCE)
    site.add("second", reward("same"), requires=BOUND, metadata=LICENCE)
    assert "again by plugin 'second'" in failing("second")["loads"]


def test_what_is_not_installed_is_reported_with_a_next_step() -> None:
    assert "[project.entry-points.dagsdk]" in failing("absent")["loads"]


def test_a_local_file_has_no_distribution(tmp_path: Path, reward: Any) -> None:
    path = tmp_path / "mine.py"
    path.write_text(reward("mine"), encoding="utf-8")
    found = statuses(str(path))
    assert {check for check, (status, _) in found.items() if status == "skipped"} == {
        "bounds_the_core",
        "licence_is_declared",
    }
    assert {status for status, _ in found.values()} == {"passed", "skipped"}
