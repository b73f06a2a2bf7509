"""`dagsdk plugins check NAME`: the contract, without pytest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from dagsdk.config.overrides import overridden
from dagsdk.errors import ConfigError, UnknownComponentError
from dagsdk.plugins import Plugin, load_file
from dagsdk.specs import KINDS, Spec
from dagsdk.testing.case import Case
from dagsdk.testing.check import Check, Outcome, name_of, outcome, outcomes, require_known
from dagsdk.testing.kinds import CONTRACTS
from dagsdk.testing.plugin_checks import PLUGIN_CHECKS, PluginCase

MARKS = {"passed": "ok", "failed": "FAIL", "warned": "WARN", "excepted": "except", "skipped": "skip"}


def checked(
    found: Sequence[Plugin], name: str, sets: Sequence[str], excepts: Sequence[str], *, strict: bool = False
) -> bool:
    """Checks whatever is called `name`, prints the outcomes, and returns whether no rule is broken.

    strict: whether what a published package should have is required as well.
    """
    plugins, components = named(found, name)
    options = options_given(sets)
    exceptions = dict(exception_given(text) for text in excepts)
    if options and (plugins or len(components) != 1):
        raise click.UsageError(f"--set is for one component, and {name!r} is a plugin or several components")
    every: list[Check] = list(PLUGIN_CHECKS) if plugins else []
    every += [check for kind, _ in components for check in CONTRACTS[kind][1]]
    require_known(every, exceptions)
    results: list[Outcome] = []

    def run(checks: Sequence[Check], case: object) -> None:
        results.extend(printed(outcomes(checks, case, about(checks, exceptions), strict=strict)))

    for plugin in plugins:
        click.echo(plugin.label)
        run(PLUGIN_CHECKS, PluginCase(plugin=plugin.name))
    for kind, spec in components:
        case_class, checks = CONTRACTS[kind]
        click.echo(f"{kind[:-1]} {spec.name}")
        if missing := [field for field in required(spec) if field not in options]:
            click.echo(
                f"  not checked: it needs {', '.join(missing)}; "
                f"use `dagsdk plugins check {spec.name} --set {missing[0]}=...`"
            )
            continue
        case = case_class(spec=spec, options=options)
        case.structured  # noqa: B018  raises for a mistake in the options, which is no failure of the component
        building = outcome(check_builds, case, {})
        if building.status == "passed":
            run(checks, case)
        else:  # every check would fail for the same reason, perhaps after a long time each
            results.extend(printed([building]))
    counts = {status: sum(result.status == status for result in results) for status in MARKS}
    click.echo(", ".join(f"{n} {status}" for status, n in counts.items() if n) or "nothing was checked")
    return counts["failed"] == 0


def check_builds(case: Case) -> None:
    """It can be built with these options."""
    _ = case.built


def named(found: Sequence[Plugin], name: str) -> tuple[list[Plugin], list[tuple[str, Spec]]]:
    """The plugin called `name` with its components, and other components of that name. A path loads that file."""
    if name.endswith(".py") or Path(name).is_file():
        plugins = [load_file(name)]
        found = plugins
    else:
        plugins = [plugin for plugin in found if plugin.name == name and plugin.name != "builtin"]
    components = [
        (kind, spec)
        for plugin in found
        for kind in KINDS
        for spec in plugin.provides.get(kind, ())
        if plugin in plugins or spec.name == name
    ]
    if not plugins and not components:
        names = ", ".join(plugin.name for plugin in found)
        raise UnknownComponentError(
            f"no component or plugin is called {name!r}; the plugins are {names}; `dagsdk plugins` lists what they "
            "provide, and a local file is given by its path"
        )
    return plugins, components


def required(spec: Spec) -> list[str]:
    """Options without a default."""
    return [f.name for f in attrs.fields(spec.options) if f.init and f.default is attrs.NOTHING]


def options_given(sets: Sequence[str]) -> Mapping[str, Any]:
    options, mistakes = overridden({}, sets)
    if mistakes:
        raise ConfigError("--set", mistakes)
    return options


def exception_given(text: str) -> tuple[str, str]:
    check, equals, reason = text.partition("=")
    if not equals:
        raise click.UsageError(f"--except {text!r} has no reason; write --except {text}='why it cannot be kept'")
    return check, reason


def about(checks: Sequence[Check], exceptions: Mapping[str, str]) -> dict[str, str]:
    """The exceptions that name one of these checks."""
    names = {name_of(check) for check in checks}
    return {name: reason for name, reason in exceptions.items() if name in names}


def printed(found: Iterable[Outcome]) -> Iterator[Outcome]:
    """Each outcome, after it is printed."""
    for result in found:
        click.echo(f"  {MARKS[result.status]:<6}  {result.check}: {result.message or result.rule}")
        yield result
