"""Contracts as pytest sees them: a test a rule, exceptions that must fail, and what is wrong with a declaration."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fake_site import reward

from dagsdk.errors import PluginError
from dagsdk.registry import load_registry
from dagsdk.testing import ContractError, outcomes
from dagsdk.testing.check import NotApplicable, outcome

pytest_plugins = ["pytester"]

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
    declared = "    exceptions = {'order_does_not_matter': 'x', 'scores_are_float32': 'a half'}\n"
    pytester.makepyfile(HEADER + "class TestPlaced(RewardContract):\n    spec = SPEC\n" + declared)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*(a half), but the rule is kept*"])


@pytest.mark.parametrize(
    ("declared", "message"),
    [({"order_does_not_mater": "x"}, "did you mean 'order_does_not_matter'"), ({"scores_are_float32": " "}, "say why")],
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
    # its hook does not say that gradients flow
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["*declare `differentiable=True`*"])


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
    with pytest.raises(ContractError, match="the checks are ok"):
        list(outcomes([check_ok], None, {"zzz": "why"}))


def test_fixtures(
    dagsdk_images: Any, dagsdk_prompts: Any, dagsdk_trajectories: Any, dagsdk_transitions: Any, isolated_plugins: Any
) -> None:
    assert dagsdk_images.shape == (4, 3, 32, 32)
    assert dagsdk_images.min() >= 0 and dagsdk_images.max() <= 1
    assert len(dagsdk_prompts) == 4
    assert len(dagsdk_trajectories.prompts) == len(dagsdk_trajectories.scores)


def test_isolated_plugins_see_only_what_is_given(
    isolated_plugins: Any, site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("installed", reward("installed"))
    (tmp_path / "given_plugin.py").write_text(reward("given"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = isolated_plugins(import_module("given_plugin"))
    assert registry.names("rewards") == ("given",)
    assert "dag-db" in registry.names("objectives")
    with pytest.raises(PluginError, match="not looked for within this test"):
        load_registry()
    with pytest.raises(PluginError, match="registers no hook"):
        isolated_plugins(object())
