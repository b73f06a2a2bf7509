"""All the ways that we know in which a plugin can be broken, next to a sound one that is not affected."""

from __future__ import annotations

from typing import Any

import pytest

from dagsdk.errors import PluginError, UnknownComponentError
from dagsdk.plugins import discover
from dagsdk.registry import Registry

HOOK = "import dagsdk\n@dagsdk.hookimpl\n"
SPEC = "dagsdk.RewardSpec(name='x', summary='X', build=print)"

BROKEN = {
    "raises-at-import": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "syntax-error": ("def (", "SyntaxError"),
    "exits-at-import": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "many-lines": ("raise ValueError('one\\ntwo')", "ValueError: one two"),
    "no-hook": ("x = 1", "registers no hook"),
    "misspelt": (f"{HOOK}def dagsdk_reward(): return []", "did you mean 'dagsdk_rewards'?"),
    "misspelt-unmarked": ("def dagsdk_promts(): return []", "did you mean 'dagsdk_prompts'?"),
    "misspelt-specname": (
        "import dagsdk\n@dagsdk.hookimpl(specname='dagsdk_model')\ndef f(): return []",
        "did you mean 'dagsdk_models'?",
    ),
    "unmarked": ("def dagsdk_rewards(): return []", "decorate it with `@dagsdk.hookimpl`"),
    "arguments": (f"{HOOK}def dagsdk_rewards(config): return []", "hooks take no arguments"),
    "wrapper": (
        "import dagsdk\n@dagsdk.hookimpl(wrapper=True)\ndef dagsdk_rewards():\n    return (yield)",
        "wraps a hook",
    ),
    "hook-raises": (f"{HOOK}def dagsdk_rewards(): 1 / 0", "hook 'dagsdk_rewards' raised ZeroDivisionError"),
    "hook-exits": (f"{HOOK}def dagsdk_rewards(): raise SystemExit", "hook 'dagsdk_rewards' raised SystemExit"),
    "generator-raises": (f"{HOOK}def dagsdk_models():\n    yield from ()\n    1 / 0", "raised ZeroDivisionError"),
    "returns-none": (f"{HOOK}def dagsdk_rewards(): pass", "returned None"),
    "returns-a-spec": (f"{HOOK}def dagsdk_rewards(): return {SPEC}", "returned RewardSpec 'x'"),
    "returns-a-number": (f"{HOOK}def dagsdk_rewards(): return 7", "returned 7"),
    "returns-text": (f"{HOOK}def dagsdk_rewards(): return 'abc'", "yielded 'a'"),
    "wrong-kind": (f"{HOOK}def dagsdk_prompts(): yield {SPEC}", "yielded RewardSpec 'x'"),
    "class-not-record": (f"{HOOK}def dagsdk_rewards(): yield dagsdk.RewardSpec", "must yield RewardSpec"),
    "twice": (f"{HOOK}def dagsdk_rewards(): return [{SPEC}, {SPEC}]", "two records named 'x'"),
    "bad-name": (
        f"{HOOK}def dagsdk_rewards(): yield dagsdk.RewardSpec(name='X Y', summary='X', build=print)",
        "name is 'X Y'",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_recorded_with_its_provider(name: str, site: Any) -> None:
    source, reason = BROKEN[name]
    site.add(name, source, version="0.3")
    plugin = site.discover()[name]
    assert (plugin.status, plugin.distribution, plugin.version) == ("failed", name, "0.3")
    assert reason in plugin.error
    assert "\n" not in plugin.error
    assert plugin.cause is not None
    assert not plugin.provides


def test_broken_plugins_harm_no_other(site: Any, reward: Any) -> None:
    for name, (source, _) in BROKEN.items():
        site.add(name, source)
    site.add("a-sound-one", reward("first"))
    site.add("z-sound-one", reward("last"))
    found = site.discover()
    assert {name for name, plugin in found.items() if plugin.status == "failed"} == set(BROKEN)
    assert list(found) == sorted(found)
    plugins = discover(entry_points=site.entry_points(), environ={})
    assert Registry(plugins).names("rewards") == ("first", "last")


def test_strict_plugins_make_failures_fatal_and_list_them_all(site: Any, reward: Any) -> None:
    site.add("sound", reward("sound"))
    assert site.discover({"DAGSDK_STRICT_PLUGINS": "1"})["sound"].status == "ok"
    site.add("broken-one", "1 / 0")
    site.add("broken-two", "x = 1")
    with pytest.raises(PluginError, match=r"broken-one 1\.0(.|\n)*broken-two 1\.0") as caught:
        site.discover({"DAGSDK_STRICT_PLUGINS": "1"})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert site.discover({"DAGSDK_STRICT_PLUGINS": "0"})["broken-one"].status == "failed"


def test_only_allowed_plugins_are_imported(site: Any, reward: Any) -> None:
    site.add("wanted", reward("wanted"))
    site.add("bomb", "raise SystemExit('imported')")
    found = site.discover({"DAGSDK_PLUGINS": "wanted, other", "DAGSDK_STRICT_PLUGINS": "1"})
    assert {name: plugin.status for name, plugin in found.items()} == {"bomb": "blocked", "wanted": "ok"}
    assert found["bomb"].error is None
    assert {p.status for p in site.discover({"DAGSDK_PLUGINS": ""}).values()} == {"blocked"}


def test_of_two_distributions_with_one_entry_point_name_the_first_stays(site: Any, reward: Any) -> None:
    site.add("dist-b", "raise AssertionError('must not be imported')", entry="same")
    site.add("dist-a", reward("mine"), entry="same")
    found = site.discover()
    assert (found["same"].distribution, found["same"].status) == ("dist-a", "ok")
    assert (found["same+"].distribution, found["same+"].status) == ("dist-b", "failed")
    assert "dist-a 1.0" in found["same+"].error
    assert "dist-b 1.0" in found["same+"].error


def test_of_two_plugins_with_one_component_the_later_fails_as_a_whole(site: Any, reward: Any) -> None:
    site.add("a", reward("clash"))
    site.add("b", reward("clash") + "    yield dagsdk.RewardSpec(name='only-b', summary='B', build=build)\n")
    found = site.discover()
    assert (found["a"].status, found["b"].status) == ("ok", "failed")
    assert "'a' (a 1.0)" in found["b"].error
    assert "'b' (b 1.0)" in found["b"].error
    registry = Registry(found.values())
    assert registry.provider("rewards", "clash") is found["a"]
    with pytest.raises(PluginError, match=r"'only-b' is missing, since plugin 'b' \(b 1\.0\) failed"):
        registry.get("rewards", "only-b")


def test_one_name_in_two_kinds_is_no_collision(site: Any, reward: Any) -> None:
    site.add("a", reward("shapes"))
    source = reward("shapes").replace("dagsdk_rewards", "dagsdk_prompts").replace("RewardSpec", "PromptSpec")
    site.add("b", source)
    assert {plugin.status for plugin in site.discover().values()} == {"ok"}


def test_a_plugin_cannot_take_a_builtin_component_or_name(site: Any) -> None:
    source = f"{HOOK}def dagsdk_objectives():\n"
    source += "    yield dagsdk.ObjectiveSpec(name='dag-db', summary='X', build=print)\n"
    site.add("aaa", source)
    site.add("impostor", source, entry="builtin")
    found = discover(entry_points=site.entry_points(), environ={})
    assert [(p.name, p.status) for p in found] == [("builtin", "ok"), ("aaa", "failed"), ("builtin", "failed")]
    assert "'builtin' (dagsdk " in (found[1].error or "")
    assert "impostor 1.0" in (found[2].error or "")
    assert Registry(found).provider("objectives", "dag-db") is found[0]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("dagsdk>=99", "failed"),
        ("DagSDK[extra]<0.0.1", "failed"),
        ("dagsdk>=0.0.1", "ok"),
        ("dagsdk>=99; python_version < '3'", "ok"),
        ("dagsdk>=99; extra == 'new'", "ok"),
        ("dagsdk-jpeg>=99", "ok"),
        ("not a ~ requirement", "ok"),
    ],
)
def test_a_plugin_for_another_core_is_not_imported(line: str, status: str, site: Any, reward: Any) -> None:
    source = reward("r") if status == "ok" else "raise AssertionError('must not be imported')"
    site.add("future", source, requires=(line, "torch"))
    plugin = site.discover()["future"]
    assert plugin.status == status
    if status == "failed":
        assert "it requires dagsdk" in plugin.error
        assert "AssertionError" not in plugin.error


def test_damaged_metadata_is_survived(site: Any, reward: Any) -> None:
    site.add("sound", reward("sound"))
    site.add("nameless", reward("nameless"))
    (site.root / "nameless-1.0.dist-info" / "METADATA").unlink()
    found = site.discover()
    assert found["sound"].status == "ok"
    assert "nameless" in found


def test_an_unreadable_entry_points_file_is_recorded(site: Any, reward: Any) -> None:
    site.add("sound", reward("sound"))
    site.add("garbled", "", entry_points="[dagsdk]\nthis is no entry point\n")
    found = {plugin.name: plugin for plugin in discover(environ={"DAGSDK_PLUGINS": "sound"})}
    assert found["sound"].status == "ok"
    assert found["garbled"].distribution == "garbled"
    assert found["garbled"].status == "failed"


def test_a_failed_plugin_is_the_reason_when_its_component_is_missing(site: Any, reward: Any) -> None:
    site.add("dagsdk-jpeg", "import no_such_module", entry="jpeg")
    site.add("other", "1 / 0")
    site.add("sound", reward("jpeg-like"))
    registry = Registry(discover(entry_points=site.entry_points(), environ={}))
    with pytest.raises(PluginError, match=r"dagsdk-jpeg 1\.0") as certain:
        registry.get("rewards", "jpeg")
    assert isinstance(certain.value.__cause__, ModuleNotFoundError)
    with pytest.raises(UnknownComponentError, match="jpeg-like") as likely:
        registry.get("rewards", "jpeg-size")
    text = str(likely.value)
    assert text.index("'jpeg' (dagsdk-jpeg 1.0)") < text.index("'other' (other 1.0)")
    assert isinstance(likely.value.__cause__, ModuleNotFoundError)
