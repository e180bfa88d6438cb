"""The command tree."""

from __future__ import annotations

import inspect
from typing import Annotated

import typer

from orris.cli import check, experiment, keys, load, models, package, ping, plan, promote, serve, train
from orris.version import __version__

app = typer.Typer(
    name="orris",
    help="From a table to a proven, served model: train, prove, package, publish, serve.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog=train.EXAMPLES)(train.train)
app.command(epilog=package.EXAMPLES)(package.package)
app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=ping.EXAMPLES)(ping.ping)
app.command(epilog=load.EXAMPLES)(load.load)
app.command(epilog=plan.EXAMPLES)(plan.plan)
app.command(epilog=promote.EXAMPLES)(promote.promote)
app.command(epilog=check.EXAMPLES)(check.check)
# Typer would cut the first sentence of a help text in a list of commands, so each has it as its short help.
for name, group in (("models", models.app), ("keys", keys.app), ("experiment", experiment.app)):
    app.add_typer(group, name=name, short_help=group.info.help)
for each in (app, models.app, keys.app, experiment.app):
    for command in each.registered_commands:
        command.short_help = " ".join((inspect.getdoc(command.callback) or "").partition("\n\n")[0].split())


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orris {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Orris: from a table to a proven, served model."""
