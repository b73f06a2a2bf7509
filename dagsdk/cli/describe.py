"""What `dagsdk plugins show NAME` tells about a component or a plugin."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import attrs

from dagsdk.config.docs import option_docs
from dagsdk.errors import UnknownComponentError
from dagsdk.plugins import Plugin
from dagsdk.registry import Registry
from dagsdk.specs import KINDS, ObjectiveSpec, RewardSpec, Spec


def description(plugins: Sequence[Plugin], name: str) -> str:
    """The components called `name`, of any kind, and the plugin; raises `UnknownComponentError` without any."""
    registry = Registry(plugins)
    blocks = [
        "\n".join(_component(kind, registry.get(kind, name), registry.provider(kind, name)))
        for kind in KINDS
        if name in registry.names(kind)
    ]
    blocks += ["\n".join(_plugin(plugin)) for plugin in plugins if plugin.name == name]
    if not blocks:
        names = {*(plugin.name for plugin in plugins), *(n for kind in KINDS for n in registry.names(kind))}
        close = get_close_matches(name, sorted(names), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`dagsdk plugins` lists them all"
        raise UnknownComponentError(f"no component or plugin is called {name!r}; {hint}")
    return "\n\n".join(blocks)


def _component(kind: str, spec: Spec, plugin: Plugin) -> Iterator[str]:
    yield f"{kind[:-1]} {spec.name}: {spec.summary}"
    yield f"  from     {plugin.label}"
    yield f"  licence  {licence(plugin.distribution)}"
    yield f"  fetches  {', '.join(spec.weights) or 'nothing; works offline'}"
    if isinstance(spec, RewardSpec):
        yield f"  differentiable  {'yes' if spec.differentiable else 'no'}"
    if isinstance(spec, ObjectiveSpec):
        yield f"  needs    {', '.join(sorted(need.value for need in spec.needs)) or 'nothing'}"
    options = list(_options(spec.options))
    yield "  options" if options else "  options  none"
    yield from (f"    {line}" for line in options)


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
    """Name, type and default of each option, and what the docstring says of it."""
    docs = option_docs(options)
    with suppress(NameError):  # of a name that only a type checker imports
        attrs.resolve_types(options)
    for attribute in attrs.fields(options):
        if attribute.init:
            default = f"= {_shown(attribute.default)}" if attribute.default is not attrs.NOTHING else "(required)"
            yield f"{attribute.alias or attribute.name}: {_type(attribute.type)} {default}"
            if attribute.name in docs:
                yield f"    {docs[attribute.name]}"


def licence(distribution: str | None) -> str:
    """What a distribution's metadata says of its licence."""
    try:
        about = metadata(distribution) if distribution else None
    except PackageNotFoundError:
        about = None
    if about is None:
        return "unknown"
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or () if c.startswith("License ::")]
    # The field License may hold a whole licence text; its first line names it.
    named = [*(about.get_all("License-Expression") or ()), *(about.get_all("License") or ())]
    return "".join(named[:1]).strip().partition("\n")[0] or ", ".join(classifiers) or "unknown"


def _type(annotation: object) -> str:
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return annotation.__name__ if isinstance(annotation, type) and plain else str(annotation).replace("typing.", "")


def _shown(default: Any) -> str:
    """Much as a run file would write it."""
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = None if default.takes_self else default.factory()
    try:
        return json.dumps(default)
    except (TypeError, ValueError):
        return repr(default)
