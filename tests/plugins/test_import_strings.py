"""`build = "package.module:Class"` of a record: imported when it is built, with the arguments that it takes."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from dagsdk.errors import PluginError
from dagsdk.specs import BuildContext, NoOptions, RewardSpec

MODULE = """
class OfOptions:
    def __init__(self, options):
        self.given = (options,)


class WithExtra:
    def __init__(self, options, extra=None):
        self.given = (options,) if extra is None else (options, extra)


class OfBoth:
    def __init__(self, options, context):
        self.given = (options, context)

    @classmethod
    def made(cls, options, context):
        return cls(options, context)


def of_both(options, context):
    return OfBoth(options, context)


def of_options(options):
    return OfOptions(options)


NUMBER = 7
"""
CONTEXT = BuildContext(seed=5)


def spec(build: Any) -> RewardSpec[NoOptions]:
    return RewardSpec(name="lazy", summary="A lazy one", build=build)


@pytest.fixture
def module(site: Any) -> str:
    """The name of a module that can be imported."""
    name: str = site.add("lazy", MODULE)
    return name


@pytest.mark.parametrize(
    ("path", "with_context"),
    [
        ("OfOptions", False),
        ("of_options", False),
        ("WithExtra", False),
        ("OfBoth", True),
        ("of_both", True),
        ("OfBoth.made", True),
    ],
)
def test_classes_and_functions_of_options_or_of_both(path: str, with_context: bool, module: str) -> None:
    options = NoOptions()
    built = spec(f"{module}:{path}").make(options, CONTEXT)
    assert built.given == ((options, CONTEXT) if with_context else (options,))
    direct: Any = sys.modules[module]
    for part in path.split("."):
        direct = getattr(direct, part)
    assert spec(direct).make(options, CONTEXT).given == built.given


def test_nothing_is_imported_before_it_is_built(module: str) -> None:
    lazy = spec(f"{module}:OfOptions")
    assert module not in sys.modules
    lazy.make(NoOptions(), CONTEXT)
    assert module in sys.modules


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:Build", "No module named 'no_such_module'"),
        ("MODULE.inner:Build", "No module named 'MODULE.inner'"),
        ("MODULE:Nothing", "has no attribute 'Nothing'"),
        ("MODULE:OfBoth.nothing", "has no attribute 'nothing'"),
    ],
)
def test_a_string_that_leads_nowhere(target: str, reason: str, module: str) -> None:
    target, reason = (text.replace("MODULE", module) for text in (target, reason))
    says = rf"RewardSpec 'lazy': build is '{target}', which cannot be imported: .*{reason}.*; name a module and a class"
    with pytest.raises(PluginError, match=says) as caught:
        spec(target).make(NoOptions(), CONTEXT)
    assert isinstance(caught.value.__cause__, (ModuleNotFoundError, AttributeError))


def test_a_string_of_something_that_builds_nothing(module: str) -> None:
    with pytest.raises(PluginError, match=f"build is '{module}:NUMBER', .*; name a class or"):
        spec(f"{module}:NUMBER").make(NoOptions(), CONTEXT)


def test_a_library_that_its_module_misses_is_reported_as_itself(site: Any) -> None:
    module = site.add("needy", "import no_such_library_at_all\n\n\ndef build(options):\n    return 1\n")
    with pytest.raises(ModuleNotFoundError) as caught:
        spec(f"{module}:build").make(NoOptions(), CONTEXT)
    assert caught.value.name == "no_such_library_at_all"


@pytest.mark.parametrize("build", ["no colon", "module:", ":Class", "a-b:Class", "module:Class()", 7, None])
def test_what_is_no_import_string_is_refused_when_the_record_is_made(build: Any) -> None:
    with pytest.raises(PluginError, match=r"'lazy': build is .*; it must be a function .* or an import string"):
        spec(build)
