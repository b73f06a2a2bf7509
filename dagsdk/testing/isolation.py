"""Tests without a network, and without the plugins that happen to be installed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from dagsdk import plugins
from dagsdk.errors import PluginError
from dagsdk.registry import Registry


@contextmanager
def offline() -> Iterator[list[str]]:
    """A context in which every connection is refused. Yields a list of the addresses that were requested."""
    asked: list[str] = []

    def refuse(address: object) -> None:
        asked.append(str(address))
        raise OSError(f"no network within this check: {address}")

    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def connecting(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):  # which does not leave the machine
            refuse(address)
        connect(self, address)

    def connecting_ex(self: socket.socket, address: Any) -> int:
        if self.family != getattr(socket, "AF_UNIX", None):
            refuse(address)
        return connect_ex(self, address)

    def resolving(host: object, *rest: object, **options: object) -> None:
        refuse(host)

    with (
        patch.object(socket.socket, "connect", connecting),
        patch.object(socket.socket, "connect_ex", connecting_ex),
        patch.object(socket, "getaddrinfo", resolving),
    ):
        yield asked


@contextmanager
def without_discovery() -> Iterator[None]:
    """A context in which looking for installed plugins raises PluginError, so that tests cannot depend on them."""

    def refuse() -> None:
        raise PluginError(
            "installed plugins are not looked for in this test; pass the plugins that it needs to `registry_of`"
        )

    with patch.object(plugins, "_installed", refuse):
        yield


def registry_of(*given: object) -> Registry:
    """A registry of the core's components and those of the given plugins (modules or objects), whatever is installed.

    Raises PluginError for a plugin that is broken, or that collides with another.
    """
    examined = [plugins.examine(plugin, plugins.Plugin(name=_name(plugin, i))) for i, plugin in enumerate(given)]
    admitted = plugins.admit([*plugins.discover(entry_points=(), environ={}), *examined])
    for plugin in admitted:
        if plugin.status == "failed":
            raise PluginError(f"{plugin.label}: {plugin.error}") from plugin.cause
    return Registry(admitted)


def _name(plugin: object, index: int) -> str:
    return str(getattr(plugin, "__name__", f"given-{index}"))
