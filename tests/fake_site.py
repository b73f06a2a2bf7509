"""Distributions made for one test: a module and its dist-info, as an installer would leave them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from textwrap import dedent

import pytest

from dagsdk.plugins import Plugin, discover


class Site:
    """A folder like site-packages."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        name: str,
        source: str,
        *,
        entry: str | None = None,
        version: str = "1.0",
        requires: tuple[str, ...] = (),
        entry_points: str | None = None,
        metadata: str = "",
    ) -> str:
        """Installs distribution `name` with one module, and returns the module's name."""
        module = f"site_{name.replace('-', '_')}"
        (self.root / f"{module}.py").write_text(dedent(source), encoding="utf-8")
        info = self.root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires), metadata]
        text = "\n".join(["Metadata-Version: 2.4", *filter(None, lines), "", ""])
        (info / "METADATA").write_text(text, encoding="utf-8")
        group = entry_points or f"[dagsdk]\n{entry or name} = {module}\n"
        (info / "entry_points.txt").write_text(group, encoding="utf-8")
        importlib.invalidate_caches()
        return module

    def entry_points(self) -> list[EntryPoint]:
        found = [point for d in distributions(path=[str(self.root)]) for point in d.entry_points]
        return found[::-1]  # discovery must not lean on the order it gets

    def discover(self, environ: Mapping[str, str] | None = None) -> dict[str, Plugin]:
        """Name to plugin, the built-in one left out; where two share a name, the later one is `name+`."""
        found: dict[str, Plugin] = {}
        for plugin in discover(entry_points=self.entry_points(), environ=environ or {})[1:]:
            found[plugin.name + "+" * (plugin.name in found)] = plugin
        return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))
    before = set(sys.modules)
    yield Site(root)
    for name in set(sys.modules) - before:
        if name.startswith(("site_", "dagsdk_file_")):
            del sys.modules[name]


def reward(name: str) -> str:
    """Source of a sound plugin with one reward."""
    return f"""
import dagsdk

def build(options, context):
    return lambda images, prompts: images.mean(dim=(1, 2, 3))

@dagsdk.hookimpl
def dagsdk_rewards():
    yield dagsdk.RewardSpec(name={name!r}, summary="A sound reward", build=build)
"""


@pytest.fixture(name="reward")
def reward_source() -> object:
    return reward
