"""The text of `dagsdk plugins show NAME` about a component or a plugin."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import attrs

from dagsdk.config.docs import option_docs
from dagsdk.errors import UnknownComponentError
from dagsdk.plugins import Plugin
from dagsdk.registry import Registry
from dagsdk.specs import KINDS, ObjectiveSpec, RewardSpec, Spec
from dagsdk.suggestions import did_you_mean


def description(plugins: Sequence[Plugin], name: str) -> str:
    """The components called `name`, of any kind, and the plugin. Raises `UnknownComponentError` if there are none."""
    registry = Registry(plugins)
    blocks = [
        "\n".join(_component(kind, registry.get(kind, name), registry.provider(kind, name)))
        for kind in KINDS
        if name in registry.names(kind)
    ]
    blocks += ["\n".join(_plugin(plugin)) for plugin in plugins if plugin.name == name]
    if not blocks:
        names = {*(plugin.name for plugin in plugins), *(n for kind in KINDS for n in registry.names(kind))}
        hint = did_you_mean(name, sorted(names)) or "`dagsdk plugins` lists them all"
        raise UnknownComponentError(f"no component or plugin is called {name!r}; {hint}")
    return "\n\n".join(blocks)


def _component(kind: str, spec: Spec, plugin: Plugin) -> Iterator[str]:
    yield f"{kind[:-1]} {spec.name}: {spec.summary}"
    yield f"  from     {plugin.label}"
    yield f"  licence  {licence(plugin.distribution)}"
    yield f"  fetches  {', '.join(spec.weights) or 'nothing; works offline'}"
    if isinstance(spec, RewardSpec):
        yield f"  differentiable  {_yes_or_no(spec.differentiable)}"
    if isinstance(spec, ObjectiveSpec):
        yield from _objective(spec)
    options = list(_options(spec.options))
    yield "  options" if options else "  options  none"
    yield from (f"    {line}" for line in options)


def _objective(spec: ObjectiveSpec[Any]) -> Iterator[str]:
    """The fields of its record; those that depend on the options, with the defaults."""
    yield f"  batches  {spec.batches}"
    yield f"  samples  {spec.samples}"
    yield f"  off-policy  {_yes_or_no(spec.off_policy)}"
    with suppress(TypeError):  # an option without a default
        options = spec.options()
        yield f"  needs    {', '.join(sorted(need.value for need in spec.needs_of(options))) or 'nothing'}"
        yield f"  compares images of a prompt  {_yes_or_no(spec.compares(options))}"


def _plugin(plugin: Plugin) -> Iterator[str]:
    yield f"{plugin.label}: {plugin.status}"
    yield f"  licence  {licence(plugin.distribution)}"
    for kind, specs in plugin.provides.items():
        yield from (f"  {kind[:-1]} {spec.name}: {spec.summary}" for spec in specs)
    if plugin.error:
        yield f"  {plugin.error}"
    if plugin.cause is not None:
        yield "".join(traceback.format_exception(plugin.cause)).rstrip()


def _options(options: type[Any]) -> Iterator[str]:
    """Name, type and default of each option, and its text in the docstring."""
    docs = option_docs(options)
    with suppress(NameError):  # a name that only a type checker imports
        attrs.resolve_types(options)
    for attribute in attrs.fields(options):
        if attribute.init:
            default = f"= {_shown(attribute.default)}" if attribute.default is not attrs.NOTHING else "(required)"
            yield f"{attribute.alias or attribute.name}: {_type(attribute.type)} {default}"
            if attribute.name in docs:
                yield f"    {docs[attribute.name]}"


def licence(distribution: str | None) -> str:
    """The licence in a distribution's metadata."""
    try:
        about = metadata(distribution) if distribution else None
    except PackageNotFoundError:
        about = None
    if about is None:
        return "unknown"
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    # The field License may hold the whole text of a licence, whose first line is its name.
    named = [*(about.get_all("License-Expression") or ()), *(about.get_all("License") or ())]
    return "".join(named[:1]).strip().partition("\n")[0] or ", ".join(classifiers) or "unknown"


def _type(annotation: object) -> str:
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__name__ if isinstance(annotation, type) and plain else str(annotation).replace("typing.", "")


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _shown(default: Any) -> str:
    """The value roughly as in a run file."""
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = None if default.takes_self else default.factory()
    try:
        return json.dumps(default)
    except (TypeError, ValueError):
        return repr(default)
