"""`dagsdk new KIND NAME`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from dagsdk.scaffold.project import KINDS, module_of, write_project


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("name")
@click.option("--folder", type=click.Path(path_type=Path), help="Folder of the project [default: dagsdk-NAME].")
@click.option("--author", help="For the licence and the metadata [default: The dagsdk-NAME authors].")
def new(kind: str, name: str, folder: Path | None, author: str | None) -> None:
    """Write the project of a plugin that provides NAME: a reward, prompt set, objective, rollout or model.

    NAME is its name in run files: lower-case letters, digits and hyphens, without the prefix dagsdk-. The project is a
    complete, working example of its kind, with tests, a run file, README and licence.
    """
    from dagsdk.cli.plugins import quietly_discovered
    from dagsdk.registry import Registry

    project = write_project(kind, name, Registry(quietly_discovered()), folder=folder, author=author)
    start = project / "src" / module_of(name) / KINDS[kind].start
    click.echo(f"wrote {project}; its {KINDS[kind].words} is in {start}\n")
    click.echo(f"  cd {shlex.quote(str(project))} && pip install -e . pytest")
    click.echo("  pytest")
    click.echo("  dagsdk train run.toml")
