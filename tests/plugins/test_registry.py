from __future__ import annotations

from typing import Any

import pytest

import dagsdk
from dagsdk.errors import PluginError, UnknownComponentError
from dagsdk.objectives.options import DetailedBalanceOptions
from dagsdk.plugins import Plugin, discover
from dagsdk.registry import Registry
from dagsdk.specs import BuildContext, PromptSpec


def prompt_set(name: str) -> PromptSpec[Any]:
    return PromptSpec(name=name, summary="Some prompts", build=lambda options, context: ())


@pytest.fixture
def registry() -> Registry:
    return Registry(discover(entry_points=(), environ={}))


def test_builtins_come_through_the_hooks(registry: Registry) -> None:
    assert registry.names("objectives") == ("dag-db", "dag-kl")
    assert registry.names("rollouts") == ("independent",)
    assert registry.names("models") == ("vector",)
    assert registry.names("prompts") == ("texts",)
    assert registry.get("objectives", "dag-db").options is DetailedBalanceOptions


@pytest.mark.parametrize("kind", ["objectives", "rollouts"])
def test_builtins_build_with_their_defaults(kind: str, registry: Registry) -> None:
    for name in registry.names(kind):
        spec = registry.get(kind, name)
        assert spec.make(spec.options(), BuildContext()) is not None


def test_a_misspelt_name_gets_a_suggestion_and_the_choices(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError, match=r"did you mean 'dag-db'.*dag-db, dag-kl"):
        registry.get("objectives", "dag-bd")


def test_a_part_of_a_name_gets_all_names_with_it(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError, match=r"did you mean 'dag-db' or 'dag-kl'\? Installed"):
        registry.get("objectives", "dag")


def test_a_name_of_another_kind_is_pointed_out(registry: Registry) -> None:
    with pytest.raises(UnknownComponentError, match="There is one among the objectives"):
        registry.get("rewards", "dag-db")


def test_blocked_plugins_are_named() -> None:
    registry = Registry([Plugin(name="jpeg", distribution="dagsdk-jpeg", version="1", status="blocked")])
    with pytest.raises(UnknownComponentError, match=r"Blocked.*jpeg"):
        registry.get("rewards", "jpeg-size")


def test_an_unknown_kind_is_a_mistake_of_the_program(registry: Registry) -> None:
    with pytest.raises(ValueError, match="'reward' is not a kind"):
        registry.get("reward", "x")


def test_a_component_has_a_provider_with_a_version(registry: Registry) -> None:
    assert registry.provider("objectives", "dag-db").provider == f"dagsdk {dagsdk.__version__}"
    with pytest.raises(UnknownComponentError):
        registry.provider("models", "owner/name")


def test_a_registry_takes_no_collision() -> None:
    plugins = [
        Plugin(name=n, distribution=f"d{n}", version="1", provides={"prompts": (prompt_set("p"),)}) for n in "ab"
    ]
    with pytest.raises(PluginError, match=r"'a' \(da 1\).*'b' \(db 1\)"):
        Registry(plugins)
