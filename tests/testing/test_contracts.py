"""Contracts in pytest: one test per rule, exceptions that must fail, warnings, wrong declarations, and fixtures."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from fake_site import reward

import dagsdk.testing.contracts  # noqa: F401  loads torch, which cannot be loaded again after a run of pytester
from dagsdk.errors import PluginError
from dagsdk.objectives.parts import Needs
from dagsdk.registry import load_registry
from dagsdk.testing import ContractError, outcomes
from dagsdk.testing.check import NotApplicable, outcome, recommended

pytest_plugins = ["pytester", "dagsdk.testing.pytest_plugin"]

HEADER = """
import torch
from dagsdk import RewardSpec
from dagsdk.testing import RewardContract

def build(options, context):
    return lambda images, prompts: images.mean(dim=(1, 2, 3)) + 0.1 * torch.arange(len(images))

SPEC = RewardSpec(name="placed", summary="Depends on the place", build=build, differentiable=True)
"""


def test_a_broken_rule_is_one_failed_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(HEADER + "class TestPlaced(RewardContract):\n    spec = SPEC\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(
        ["E  *must not depend on the place in the batch", "FAILED *::test_order_does_not_matter*"]
    )


def test_a_declared_exception_is_an_expected_failure(pytester: pytest.Pytester) -> None:
    declared = "    exceptions = {'order_does_not_matter': 'a drawing of a series'}\n"
    pytester.makepyfile(HEADER + "class TestPlaced(RewardContract):\n    spec = SPEC\n" + declared)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-rx")
    assert result.parseoutcomes()["xfailed"] == 1
    assert "failed" not in result.parseoutcomes()
    result.stdout.fnmatch_lines(["*a drawing of a series*"])


def test_an_exception_that_passes_fails(pytester: pytest.Pytester) -> None:
    declared = "    exceptions = {'order_does_not_matter': 'x', 'rewards_are_float32': 'a half'}\n"
    pytester.makepyfile(HEADER + "class TestPlaced(RewardContract):\n    spec = SPEC\n" + declared)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*(a half), but the rule is kept*"])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"order_does_not_mater": "x"}, "did you mean 'order_does_not_matter'"),
        ({"rewards_are_float32": " "}, "say why"),
    ],
)
def test_a_wrong_declaration_is_an_error(pytester: pytest.Pytester, declared: dict[str, str], message: str) -> None:
    pytester.makepyfile(HEADER + f"class TestPlaced(RewardContract):\n    spec = SPEC\n    exceptions = {declared}\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines([f"*{message}*"])


def test_a_spec_may_be_a_registered_name(pytester: pytest.Pytester, site: Any) -> None:
    site.add("sound", reward("sound"))
    pytester.makepyfile(
        "from dagsdk.testing import RewardContract\nclass TestSound(RewardContract):\n    spec = 'sound'\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    # its record does not say that gradients flow
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*declare `differentiable=True`*"])


UNDOCUMENTED = """
import attrs
from dagsdk import RewardSpec
from dagsdk.testing import RewardContract

@attrs.frozen
class Options:
    scale: float = 1.0

def build(options):
    return lambda images, prompts: options.scale * images.mean(dim=(1, 2, 3))

SPEC = RewardSpec(name="scaled", summary="Has an option", build=build, options=Options, differentiable=True)

class TestScaled(RewardContract):
    spec = SPEC
"""


def test_what_a_published_package_should_have_is_a_warning(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNDOCUMENTED)
    # Our own settings, which a run within this process inherits, make an error of it.
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-W", "always::dagsdk.testing.ContractWarning")
    found = result.parseoutcomes()
    assert found["warnings"] == 1
    assert "failed" not in found
    result.stdout.fnmatch_lines(["*ContractWarning: reward 'scaled': options scale have no line*"])


def test_it_is_a_failure_of_a_strict_contract(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNDOCUMENTED + "    strict = True\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes()["failed"] == 1
    assert "warnings" not in result.parseoutcomes()
    result.stdout.fnmatch_lines(["FAILED *::test_options_are_documented*"])


def test_it_may_be_declared_as_an_exception(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(UNDOCUMENTED + "    exceptions = {'options_are_documented': 'in the manual'}\n")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes()["xfailed"] == 1
    assert "warnings" not in result.parseoutcomes()


def test_outcomes_of_a_check() -> None:
    def check_ok(case: object) -> None:
        """Fine."""

    def check_raises(case: object) -> None:
        """Not fine."""
        raise KeyError("x")

    def check_skips(case: object) -> None:
        """Says nothing."""
        raise NotApplicable("no such thing")

    assert outcome(check_ok, None, {}).status == "passed"
    failed = outcome(check_raises, None, {})
    assert (failed.status, failed.message, failed.rule) == ("failed", "it raised KeyError: 'x'", "Not fine.")
    assert outcome(check_raises, None, {"raises": "why"}).status == "excepted"
    assert outcome(check_ok, None, {"ok": "why"}).status == "failed"
    assert outcome(check_skips, None, {"skips": "why"}).status == "skipped"


def test_outcomes_of_a_recommended_check() -> None:
    @recommended
    def check_lacks(case: object) -> None:
        """It has a licence."""
        raise ContractError("there is none")

    @recommended
    def check_crashes(case: object) -> None:
        """It can be read."""
        raise OSError("no")

    found = outcome(check_lacks, None, {})
    assert (found.status, found.message, found.rule) == ("warned", "there is none", "It has a licence.")
    assert isinstance(found.cause, ContractError)
    assert outcome(check_lacks, None, {}, strict=True).status == "failed"
    assert outcome(check_lacks, None, {"lacks": "why"}).status == "excepted"
    assert outcome(check_crashes, None, {}).status == "failed"  # that is no lack but an error
    assert [o.status for o in outcomes([check_lacks], None, {})] == ["warned"]
    assert [o.status for o in outcomes([check_lacks], None, {}, strict=True)] == ["failed"]


def test_an_exception_that_names_no_check() -> None:
    def check_ok(case: object) -> None:
        """Fine."""

    with pytest.raises(ContractError, match="the checks are ok"):
        list(outcomes([check_ok], None, {"zzz": "why"}))


def test_fixtures(
    dagsdk_images: Any,
    dagsdk_prompts: Any,
    dagsdk_trajectories: Any,
    dagsdk_transitions: Any,
    dagsdk_denoisings: Any,
) -> None:
    assert dagsdk_images.shape == (4, 3, 32, 32)
    assert dagsdk_images.min() >= 0 and dagsdk_images.max() <= 1
    assert len(dagsdk_prompts) == 4
    assert len(dagsdk_trajectories.prompts) == len(dagsdk_trajectories.rewards)
    assert set(dagsdk_transitions({Needs.OLD}, 5).parts) == {Needs.OLD}
    assert len(dagsdk_denoisings(n=3).output) == 3


USES_A_FIXTURE = "def test_it(dagsdk_prompts):\n    assert dagsdk_prompts\n"


def test_fixtures_are_opt_in(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USES_A_FIXTURE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"errors": 1}
    result.stdout.fnmatch_lines(["*fixture 'dagsdk_prompts' not found*"])
    pytester.makeconftest('pytest_plugins = "dagsdk.testing.pytest_plugin"\n')
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes() == {"passed": 1}


def test_no_pytest_of_a_user_loads_them_by_itself() -> None:
    assert not [entry for entry in entry_points(group="pytest11") if entry.value.startswith("dagsdk")]


def test_isolated_plugins_see_only_what_is_given(
    isolated_plugins: Any, site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("installed", reward("installed"))
    (tmp_path / "given_plugin.py").write_text(reward("given"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = isolated_plugins(import_module("given_plugin"))
    assert registry.names("rewards") == ("given",)
    assert "dag-db" in registry.names("objectives")
    with pytest.raises(PluginError, match="not looked for in this test"):
        load_registry()
    with pytest.raises(PluginError, match="registers no hook"):
        isolated_plugins(object())
