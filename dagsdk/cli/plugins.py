"""`dagsdk plugins`: installed plugins, their components, and failures. Loads no torch."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import click

from dagsdk.plugins import Plugin, discover
from dagsdk.specs import KINDS


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@click.pass_context
def plugins(context: click.Context, as_json: bool) -> None:
    """List plugins and their components.

    DAGSDK_PLUGINS=a,b loads only these plugins; DAGSDK_STRICT_PLUGINS=1 makes a failure an error.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json is for the list of plugins; leave it out before a subcommand")
        return
    found = quietly_discovered()
    if as_json:
        click.echo(json.dumps({"plugins": [as_record(plugin) for plugin in found]}, indent=2))
    else:
        show_table(found)


@plugins.command()
@click.argument("name")
def show(name: str) -> None:
    """Show a component or plugin, NAME.

    Its plugin, licence, downloads and options; for a plugin its components, and the traceback if it failed.
    """
    from dagsdk.cli.describe import description

    click.echo(description(quietly_discovered(), name))


@plugins.command()
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="An option of the component: quality=50")
@click.option("--except", "excepts", multiple=True, metavar="CHECK=REASON", help="A check that must fail, and why.")
@click.option("--strict", is_flag=True, help="Also fail on what a published package should have (WARN).")
def check(name: str, sets: tuple[str, ...], excepts: tuple[str, ...], strict: bool) -> int:
    """Check a plugin, component or local file, NAME.

    Every rule of its contract is checked; the exit status is 1 if one is broken. `dagsdk.testing` has the same checks
    for pytest.
    """
    from dagsdk.cli.bars import silence_libraries
    from dagsdk.cli.check import checked

    silence_libraries()
    return 0 if checked(quietly_discovered(), name, sets, excepts, strict=strict) else 1


def quietly_discovered() -> tuple[Plugin, ...]:
    """All plugins. What a plugin prints while it is imported goes to standard error, not into the output."""
    with contextlib.redirect_stdout(sys.stderr):
        return discover()


def as_record(plugin: Plugin) -> dict[str, Any]:
    """The plugin's object in the output of `dagsdk plugins --json`."""
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "status": plugin.status,
        "error": plugin.error,
        "provides": {kind: [spec.name for spec in plugin.provides.get(kind, ())] for kind in KINDS},
    }


def show_table(found: tuple[Plugin, ...]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("plugin", "distribution", "provides", "status", box=box.SIMPLE_HEAD, pad_edge=False)
    for plugin in found:
        style = {"ok": "green", "failed": "bold red", "blocked": "yellow"}[plugin.status]
        cells = (plugin.name, plugin.provider, "\n".join(_provided(plugin)))
        table.add_row(*map(Text, cells), Text(plugin.status, style=style))  # Text: brackets are not markup
    Console().print(table)
    for plugin in found:
        if plugin.status == "failed":
            click.echo(f"{plugin.label} failed: {plugin.error}")


def _provided(plugin: Plugin) -> Iterator[str]:
    for kind in KINDS:
        if specs := plugin.provides.get(kind):
            yield f"{kind}: {', '.join(spec.name for spec in specs)}"
