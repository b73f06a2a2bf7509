"""Finding plugins. Each is loaded separately: a broken one is recorded with its provider, and does not affect others.

Nothing happens at import, and nothing is kept: `discover` returns records, and `dagsdk.registry` looks names up.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Literal

from attrs import Factory, evolve, frozen
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from dagsdk import __version__
from dagsdk.errors import PluginError
from dagsdk.hookcalls import described, records
from dagsdk.specs import Spec

GROUP = "dagsdk"
BUILTIN = EntryPoint(name="builtin", value="dagsdk.builtin", group=GROUP)


@frozen(kw_only=True, eq=False)
class Plugin:
    """A plugin, and whether it could be loaded.

    name: of its entry point; for a local file, its path as in the run file.
    distribution, version: what it was installed from; None for a local file.
    status: "ok"; "failed", and nothing of it is registered; "blocked" by DAGSDK_PLUGINS, and not imported.
    error, cause: why it failed, in one line, and the exception behind it.
    provides: kind ("rewards", ...) to the specs that it registers.
    withheld: kind to the specs that a failed plugin would have registered, as far as they are known.
    sha256: of the bytes of a local file, as they were run.
    """

    name: str
    distribution: str | None = None
    version: str | None = None
    status: Literal["ok", "failed", "blocked"] = "ok"
    error: str | None = None
    cause: BaseException | None = None
    provides: Mapping[str, tuple[Spec, ...]] = Factory(dict)
    withheld: Mapping[str, tuple[Spec, ...]] = Factory(dict)
    sha256: str | None = None

    @property
    def provider(self) -> str:
        """Where it comes from: ``dagsdk-jpeg 0.1.0``, or ``mine.py sha256 ...`` for a local file."""
        if self.sha256 is not None:
            return f"{Path(self.name).name} sha256 {self.sha256}"
        return f"{self.distribution or 'unknown distribution'} {self.version or ''}".rstrip()

    @property
    def label(self) -> str:
        """The plugin and its provider, for messages: ``plugin 'jpeg' (dagsdk-jpeg 0.1.0)``."""
        if self.sha256 is not None:
            return f"plugin file {self.name!r}"
        return f"plugin {self.name!r} ({self.provider})"


def discover(
    *,
    files: Iterable[str | Path] = (),
    entry_points: Iterable[EntryPoint] | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Plugin, ...]:
    """All plugins: the built-in one, the installed ones in the order of their names, then local `files` as listed.

    entry_points: in place of the installed ones.
    environ: in place of `os.environ`, for
        DAGSDK_PLUGINS=a,b: only these installed plugins are imported (none, if it is empty);
        DAGSDK_STRICT_PLUGINS=1: a plugin that fails is an error.

    Of two plugins with the same entry-point name, or with a component of the same kind and name, the first in order is
    kept and the second fails as a whole. Raises `PluginError` for a broken local file, since a run names it, and with
    DAGSDK_STRICT_PLUGINS for any failure.
    """
    environ = os.environ if environ is None else environ
    listed = environ.get("DAGSDK_PLUGINS")
    allowed = None if listed is None else {name.strip() for name in listed.split(",")}

    found, plugins = _installed() if entry_points is None else (list(entry_points), [])
    named = {BUILTIN.name: _builtin()}
    pairs = [(_about(entry_point), entry_point) for entry_point in found]
    for about, entry_point in sorted(pairs, key=lambda pair: _order(pair[0])):
        if allowed is not None and about.name not in allowed:
            plugins.append(evolve(about, status="blocked"))
        elif first := named.get(about.name):
            plugins.append(_failed(about, _two_with_one_name(first, about)))
        else:
            named[about.name] = _load(entry_point, about)
    installed = sorted([*plugins, *named.values()], key=_order)
    admitted = admit([*installed, *map(load_file, files)])
    failed = [plugin for plugin in admitted if plugin.status == "failed"]
    strict = environ.get("DAGSDK_STRICT_PLUGINS", "") not in ("", "0")
    if fatal := [plugin for plugin in failed if strict or plugin.sha256 is not None]:
        why = " (DAGSDK_STRICT_PLUGINS is set, so this is an error)" if strict else ""
        lines = "".join(f"\n  {plugin.label}: {plugin.error}" for plugin in fatal)
        noun = "plugin" if len(fatal) == 1 else "plugins"
        raise PluginError(f"{len(fatal)} {noun} failed to load{why}:{lines}") from fatal[0].cause
    return admitted


def admit(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """The plugins in order. One with a component that an earlier plugin provides has failed, as a whole."""
    taken: dict[tuple[str, str], Plugin] = {}
    admitted = []
    for plugin in plugins:
        names = [(kind, spec.name) for kind, specs in plugin.provides.items() for spec in specs]
        if clash := next((name for name in names if name in taken), None):
            plugin = _failed(plugin, PluginError(collision(*clash, taken[clash], plugin)))
        else:
            taken.update(dict.fromkeys(names, plugin))
        admitted.append(plugin)
    return tuple(admitted)


def collision(kind: str, name: str, first: Plugin, second: Plugin) -> str:
    """Why two plugins cannot both provide the component."""
    return (
        f"{kind[:-1]} {name!r} is provided by {first.label} and again by {second.label}, which is ignored; "
        "rename one, uninstall one, or exclude one with DAGSDK_PLUGINS"
    )


def examine(plugin: object, about: Plugin) -> Plugin:
    """`about`, with the specs that the hooks of a module or object return, or with the reason why they fail."""
    provides: dict[str, tuple[Spec, ...]] = {}
    try:
        for kind, specs in records(plugin, about.name):
            provides[kind] = specs
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _failed(evolve(about, provides=provides), error)
    return evolve(about, provides=provides)


def load_file(path: str | Path) -> Plugin:
    """One local plugin file, as `plugins = ["./mine.py"]` names it. Raises `PluginError` with its cause."""
    try:
        location = Path(path).expanduser().resolve()
        source = location.read_bytes()
    except OSError as error:
        raise PluginError(
            f"plugin file {str(path)!r} cannot be read ({error.strerror}); give the path of a Python file"
        ) from error
    about = Plugin(name=str(path), sha256=hashlib.sha256(source).hexdigest())
    try:
        module = _module(location, source)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(f"{about.label} raised {described(error)}") from error
    plugin = examine(module, about)
    if plugin.status == "failed":
        raise PluginError(f"{plugin.label}: {plugin.error}") from plugin.cause
    return plugin


class _Source(importlib.abc.SourceLoader):
    """Runs the bytes that were hashed, without reading the file again, and without cached bytecode."""

    def __init__(self, path: Path, source: bytes) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str | bytes) -> bytes:
        return self.source


def _module(path: Path, source: bytes) -> ModuleType:
    name = f"dagsdk_file_{hashlib.sha256(os.fsencode(path) + b'=' + source).hexdigest()[:16]}"
    if name in sys.modules:  # the same file again: its classes stay the same classes
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(path, source))
    assert spec is not None
    assert spec.loader is not None
    # Annotations that are strings are resolved through sys.modules, so the module must be in there.
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _order(plugin: Plugin) -> tuple[bool, str, str]:
    """The built-in plugin first, then by name, then by distribution."""
    provider = canonicalize_name(plugin.distribution or "")
    return (plugin.name, provider) != (BUILTIN.name, "dagsdk"), plugin.name, provider


def _failed(about: Plugin, error: BaseException) -> Plugin:
    """`about` as a failed plugin, whose specs are withheld; the cause is the plugin's own exception, if any."""
    text = " ".join(str(error).split()) if isinstance(error, PluginError) else described(error)
    cause = error.__cause__ or error
    return evolve(about, status="failed", error=text, cause=cause, provides={}, withheld=about.provides)


def _builtin() -> Plugin:
    plugin = examine(BUILTIN.load(), Plugin(name=BUILTIN.name, distribution="dagsdk", version=__version__))
    assert plugin.status == "ok", plugin.error
    return plugin


def _load(entry_point: EntryPoint, about: Plugin) -> Plugin:
    try:
        if entry_point.dist is not None:
            _check_core(entry_point.dist)
        try:
            plugin = entry_point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit: an import must not end the program
            raise PluginError(f"importing {entry_point.value!r} raised {described(error)}") from error
    except Exception as error:
        return _failed(about, error)
    return examine(plugin, about)


def _check_core(distribution: Distribution) -> None:
    """Refuses a plugin that requires another version of the core, before it is imported."""
    for line in distribution.requires or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue  # a matter for the installer
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if not applies or canonicalize_name(wanted.name) != "dagsdk":
            continue
        if not wanted.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                f"it requires dagsdk{wanted.specifier}, and dagsdk {__version__} is installed; install a version of "
                "dagsdk that it accepts, or another version of the plugin"
            )


def _two_with_one_name(first: Plugin, second: Plugin) -> PluginError:
    return PluginError(
        f"entry point {first.name!r} is declared by {first.provider} and again by {second.provider}, "
        "which is ignored; uninstall one of them"
    )


def _about(entry_point: EntryPoint) -> Plugin:
    name, version = _identity(entry_point.dist) if entry_point.dist is not None else (None, None)
    return Plugin(name=entry_point.name, distribution=name, version=version)


def _identity(distribution: Distribution) -> tuple[str | None, str | None]:
    """Name and version, or (None, None) where the metadata is missing or damaged."""
    try:
        return distribution.name, distribution.version
    except Exception:
        return None, None


def _installed() -> tuple[list[EntryPoint], list[Plugin]]:
    """The entry points of all distributions, and a failed plugin for each whose entry points cannot be read.

    One damaged file would make `importlib.metadata.entry_points` raise for all of them.
    """
    found: list[EntryPoint] = []
    unreadable: list[Plugin] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except UnicodeDecodeError:
            continue  # its owner is unknown
        if f"[{GROUP}]" not in text:
            continue
        name, version = _identity(distribution)
        if name is not None and canonicalize_name(name) in seen:
            continue  # hidden by one that is earlier on sys.path, like its modules
        seen.add(canonicalize_name(name or ""))
        try:
            # The same line twice is one plugin.
            found += dict.fromkeys(point for point in distribution.entry_points if point.group == GROUP)
        except Exception as error:
            broken = PluginError(f"its entry_points.txt cannot be read: {described(error)}")
            about = Plugin(name=name or "unknown", distribution=name, version=version)
            unreadable.append(_failed(about, broken))
    return found, unreadable
