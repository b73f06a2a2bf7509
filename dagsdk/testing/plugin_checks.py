"""The contract of a plugin as a whole: how it is installed, imported and declared."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from attrs import define
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dagsdk.plugins import GROUP, Plugin, discover, load_file
from dagsdk.testing.check import ContractError, NotApplicable, recommended, require

HEAVY = (
    "torch", "torchvision", "numpy", "scipy", "pandas", "PIL", "matplotlib", "diffusers", "transformers", "peft",
    "accelerate", "datasets", "open_clip", "timm",
)  # fmt: skip
"""Libraries that take long to load, which `dagsdk plugins` must not wait for."""

PRIVATE = ("builtin", "engine", "evaluation", "run", "testing", "scaffold", "cli", "api")
"""Packages and modules of the core that plugins must not import: they may change at any time."""

_DISCOVER = """
import io, json, sys
from contextlib import redirect_stdout
printed = io.StringIO()
with redirect_stdout(printed):
    from dagsdk.plugins import discover, load_file
    before = set(sys.modules)
    name, file = json.loads(sys.argv[1])
    if file:
        load_file(name)
    else:
        discover(environ={"DAGSDK_PLUGINS": name})
loaded = sorted({module.partition(".")[0] for module in set(sys.modules) - before})
print(json.dumps({"loaded": loaded, "printed": printed.getvalue()}))
"""


@define(eq=False, kw_only=True)
class PluginCase:
    """A plugin under test: the name of its entry point, or the path of a local file (which ends in .py)."""

    plugin: str

    @property
    def name(self) -> str:
        return f"plugin {self.plugin!r}"

    @property
    def is_file(self) -> bool:
        return self.plugin.endswith(".py")

    @cached_property
    def found(self) -> Plugin:
        """The plugin as discovery finds it, next to all others. Raises ContractError where it is not installed."""
        if self.is_file:
            return load_file(self.plugin)
        found = [plugin for plugin in discover(environ={}) if plugin.name == self.plugin]
        require(
            found,
            f"{self.name} is not installed: no distribution here has the entry point {self.plugin!r} in the group "
            f'"{GROUP}"; install it, or correct [project.entry-points.{GROUP}] in its pyproject.toml',
        )
        return found[0]

    @cached_property
    def distribution(self) -> Distribution:
        if self.is_file:
            raise NotApplicable("a local file has no distribution")
        try:
            return distribution(self.found.distribution or "")
        except (PackageNotFoundError, ValueError) as error:
            raise NotApplicable("it has no distribution") from error

    @cached_property
    def discovered(self) -> dict[str, Any]:
        """What a new interpreter loads and prints when it finds the plugin."""
        argument = json.dumps([self.plugin, self.is_file])
        command = [sys.executable, "-c", _DISCOVER, argument]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        require(done.returncode == 0, f"{self.name}: a new interpreter could not find it: {done.stderr.strip()}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def sources(self) -> Iterator[Path]:
        """The Python files of the package that its entry point names."""
        if self.is_file:
            yield Path(self.plugin)
            return
        [entry] = [e for e in self.distribution.entry_points if e.group == GROUP and e.name == self.plugin][:1]
        spec = find_spec(entry.module.partition(".")[0])
        for folder in (spec.submodule_search_locations if spec else None) or ():
            yield from sorted(Path(folder).rglob("*.py"))
        if spec is not None and spec.origin and not spec.submodule_search_locations:
            yield Path(spec.origin)


def check_loads(case: PluginCase) -> None:
    """It is found, its hooks return records, and it collides with no other plugin."""
    require(case.found.status == "ok", f"{case.name}: {case.found.status}: {case.found.error}")


def check_provides_something(case: PluginCase) -> None:
    """It provides at least one component."""
    require(any(case.found.provides.values()), f"{case.name} provides nothing; yield a record from one of its hooks")


def check_discovery_is_light(case: PluginCase) -> None:
    """Finding it loads no heavy library."""
    heavy = [name for name in case.discovered["loaded"] if name in HEAVY]
    require(
        not heavy,
        f"{case.name} loads {', '.join(heavy)} when it is imported; import heavy libraries in `build`, or give `build` "
        "as an import string, so that `dagsdk plugins` stays fast",
    )


def check_discovery_is_quiet(case: PluginCase) -> None:
    """Finding it prints nothing."""
    printed = case.discovered["printed"].strip()
    require(not printed, f"{case.name} prints {printed[:80]!r} when it is imported; use the module `logging` instead")


def check_stays_out_of_the_engine(case: PluginCase) -> None:
    """It imports nothing of the core that may change at any time."""
    for path in case.sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for module in _imported(node):
                if module.split(".")[0] == "dagsdk" and module.split(".")[1:2] and module.split(".")[1] in PRIVATE:
                    line = getattr(node, "lineno", 0)
                    raise ContractError(
                        f"{case.name}: {path.name}, line {line}, imports {module}, which may change at any "
                        "time; import from `dagsdk`, its protocols, records and process mathematics only"
                    )


@recommended
def check_bounds_the_core(case: PluginCase) -> None:
    """Its distribution requires dagsdk, with an upper bound."""
    requirements = [Requirement(line) for line in case.distribution.requires or ()]
    wanted = [r for r in requirements if canonicalize_name(r.name) == "dagsdk"]
    operators = {specifier.operator for requirement in wanted for specifier in requirement.specifier}
    require(
        operators & {"<", "<=", "==", "===", "~="},
        f"{case.name}: its distribution requires {', '.join(map(str, wanted)) or 'no dagsdk'}; contracts may change "
        'with a minor version before 1.0, so require a range such as "dagsdk>=0.1,<0.2"',
    )


@recommended
def check_licence_is_declared(case: PluginCase) -> None:
    """Its metadata names a licence."""
    metadata = case.distribution.metadata
    classifiers = [line for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    require(
        metadata.get_all("License-Expression") or metadata.get_all("License") or classifiers,
        f'{case.name}: its metadata names no licence; add `license = "MIT"`, or another, to [project]',
    )


def _imported(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), level=0, names=names):
            yield from (f"{module}.{alias.name}" for alias in names)


PLUGIN_CHECKS = (
    check_loads,
    check_provides_something,
    check_discovery_is_light,
    check_discovery_is_quiet,
    check_stays_out_of_the_engine,
    check_bounds_the_core,
    check_licence_is_declared,
)
