"""Components by kind and name, and the plugins that provide them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, overload

from dagsdk.errors import PluginError, UnknownComponentError
from dagsdk.plugins import Plugin, collision, discover
from dagsdk.specs import KINDS, ModelSpec, ObjectiveSpec, PromptSpec, RewardSpec, RolloutSpec, Spec
from dagsdk.suggestions import did_you_mean


class Registry:
    """The components of all plugins that loaded.

    A kind is a key of `dagsdk.specs.KINDS`: "rewards", "prompts", "objectives", "rollouts" or "models".
    """

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        self.plugins = tuple(plugins)
        self._provided: dict[str, dict[str, tuple[Spec, Plugin]]] = {kind: {} for kind in KINDS}
        for plugin in self.plugins:
            for kind, specs in plugin.provides.items():
                for spec in specs:
                    if spec.name in self._provided[kind]:
                        raise PluginError(collision(kind, spec.name, self.provider(kind, spec.name), plugin))
                    self._provided[kind][spec.name] = spec, plugin

    @overload
    def get(self, kind: Literal["rewards"], name: str, /) -> RewardSpec[Any]: ...
    @overload
    def get(self, kind: Literal["prompts"], name: str, /) -> PromptSpec[Any]: ...
    @overload
    def get(self, kind: Literal["objectives"], name: str, /) -> ObjectiveSpec[Any]: ...
    @overload
    def get(self, kind: Literal["rollouts"], name: str, /) -> RolloutSpec[Any]: ...
    @overload
    def get(self, kind: Literal["models"], name: str, /) -> ModelSpec[Any]: ...
    @overload
    def get(self, kind: str, name: str, /) -> Spec: ...

    def get(self, kind: str, name: str, /) -> Spec:
        """The component's spec.

        Raises `PluginError`, with its cause, where a plugin that failed to load would have provided it, and
        `UnknownComponentError`, with suggestions, where no plugin does.
        """
        return self._entry(kind, name)[0]

    def provider(self, kind: str, name: str, /) -> Plugin:
        """The plugin that provides the component. Raises like `get`."""
        return self._entry(kind, name)[1]

    def names(self, kind: str, /) -> tuple[str, ...]:
        """Names of that kind, sorted."""
        return tuple(sorted(self._provided[kind]))

    def _entry(self, kind: str, name: str) -> tuple[Spec, Plugin]:
        if kind not in self._provided:
            raise ValueError(f"{kind!r} is not a kind of component; it must be one of {', '.join(KINDS)}")
        if name not in self._provided[kind]:
            raise self._missing(kind, name)
        return self._provided[kind][name]

    def _missing(self, kind: str, name: str) -> PluginError | UnknownComponentError:
        failed = [plugin for plugin in self.plugins if plugin.status == "failed"]
        error: PluginError | UnknownComponentError
        for plugin in failed:
            if plugin.name == name or any(spec.name == name for spec in plugin.withheld.get(kind, ())):
                error = PluginError(
                    f"{kind[:-1]} {name!r} is missing, since {plugin.label} failed to load: {plugin.error}; "
                    "repair or remove that plugin, and see `dagsdk plugins`"
                )
                error.__cause__ = plugin.cause
                return error
        failed.sort(key=lambda plugin: not _suggests(plugin, name))  # the most likely first
        error = UnknownComponentError(" ".join(self._why_missing(kind, name, failed)))
        error.__cause__ = failed[0].cause if failed else None
        return error

    def _why_missing(self, kind: str, name: str, failed: list[Plugin]) -> Iterable[str]:
        names = self.names(kind)
        others = [other for other in KINDS if name in self._provided[other]]
        near = did_you_mean(name, names)
        hint = f"; {near}" if near else "."
        yield f"No {kind[:-1]} is called {name!r}{hint}"
        if others:
            yield f"There is one among the {' and '.join(others)}."
        yield f"Installed {kind}: {', '.join(names) or 'none'}."
        if failed:
            reasons = "; ".join(f"{plugin.label}: {plugin.error}" for plugin in failed)
            yield f"Plugins that failed to load, one of which may provide it: {reasons}."
        if blocked := [plugin.name for plugin in self.plugins if plugin.status == "blocked"]:
            yield f"Blocked, since DAGSDK_PLUGINS does not list them: {', '.join(blocked)}."
        yield "Install the plugin that provides it, or choose one that `dagsdk plugins` shows."


def _suggests(plugin: Plugin, name: str) -> bool:
    """Whether the component's name begins with the plugin's, or with its distribution's."""
    stems = {plugin.name, (plugin.distribution or plugin.name).removeprefix("dagsdk-")}
    return any(name == stem or name.startswith(f"{stem}-") for stem in stems)


def load_registry(files: Iterable[str | Path] = ()) -> Registry:
    """All components: built in, installed, and from these local plugin files. Raises `PluginError`."""
    return Registry(discover(files=files))
