"""The command line. The module of a command is imported only when the command is used, so that the others are fast."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

import click

from dagsdk import __version__
from dagsdk.errors import DagsdkError
from dagsdk.suggestions import did_you_mean

VERBS = {
    "train": "Align a model by a run file, or resume a run.",
    "sample": "Sample images from a run.",
    "plugins": "List plugins, show their components, check their contracts.",
    "new": "Write the project of a new plugin.",
}
"""Command to its line in `dagsdk --help`. Command v is the click command `v` in `dagsdk.cli.v`."""


class Verbs(click.Group):
    """A group that imports a command only when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = getattr(import_module(f"dagsdk.cli.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], VERBS) or f"the commands are {', '.join(VERBS)}"
            ctx.fail(f"there is no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, subcommand_metavar="COMMAND [ARGS]...")
@click.version_option(__version__, prog_name="dagsdk")
def dagsdk() -> None:
    """Align text-to-image diffusion models with black-box rewards, and keep their diversity.

    DAGSDK_DEBUG=1 shows the traceback of an error.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    args: arguments; None means those of the program.

    0: done. 1: an error, with a message. 2: wrong usage. 130: interrupted.
    """
    try:
        status = dagsdk.main(args=args, prog_name="dagsdk", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        interrupted = isinstance(error, KeyboardInterrupt) or isinstance(error.__cause__, KeyboardInterrupt)
        click.echo("interrupted" if interrupted else "aborted", err=True)
        return 130 if interrupted else 1
    except DagsdkError as error:
        if os.environ.get("DAGSDK_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        click.echo(f"error: {error}", err=True)
        return 1
    return status if isinstance(status, int) else 0


if __name__ == "__main__":
    sys.exit(main())
