"""Output of every command: results on standard output, everything else on standard error.

Rich is imported on first use.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orris.installation import command
from orris.settings import DEFAULT_STORE

if TYPE_CHECKING:
    from orris.api import Bundle

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store", help=f"Model store: a directory, gs://…, s3://… or az://… [default: {DEFAULT_STORE}, or ORRIS_STORE]"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def say(text: str = "") -> None:
    """A line of the command's result."""
    print(text, flush=True)  # noqa: T201


def tell(text: str = "") -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def shown(value: Any) -> str:
    """A setting as a line of a table shows it, with ``true`` and ``false`` as in JSON; empty: it is not set."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return "" if value is None else str(value)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    import msgspec  # noqa: PLC0415

    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, optional: Sequence[str] = ()
) -> None:
    """A table on standard output; cells are plain text.

    Args:
        header: Names of the columns.
        rows: Their cells.
        title: Above the table.
        optional: Columns that are left out, in this order, while the terminal is too narrow for the table.
    """
    from rich.console import Console  # noqa: PLC0415
    from rich.measure import Measurement  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def table_without(dropped: Sequence[str]) -> Table:
        places = [place for place, name in enumerate(header) if name not in dropped]
        table = Table(*(header[place] for place in places), title=title, title_justify="left")
        for row in rows:
            table.add_row(*(Text(row[place]) for place in places))
        return table

    # A pipe has no width: do not fold what a program reads.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    unlimited = console.options.update(max_width=10_000)
    table, n_dropped = table_without(()), 0
    while n_dropped < len(optional) and Measurement.get(console, unlimited, table).maximum > console.width:
        n_dropped += 1
        table = table_without(optional[:n_dropped])
    console.print(table)


@contextmanager
def working(first: str) -> Iterator[Callable[[str], None]]:
    """A progress display on standard error while a person watches, and a line for each new step otherwise.

    Yields a function that is called with each step: ``fitting``, or ``cross-validation (3/5)``, which moves the bar.
    """
    if not sys.stderr.isatty():
        yield _plain_steps()
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(first, total=None)

        def show(step: str) -> None:
            done, _, total = step.rpartition(" ")[2].strip("()").partition("/")
            counted = done.isdigit() and total.isdigit()
            progress.update(
                task, description=step, completed=int(done) if counted else 0, total=int(total) if counted else None
            )

        yield show


def _plain_steps() -> Callable[[str], None]:
    """Prints each step once and without its counter, however often that moves."""
    before = ""

    def step(text: str) -> None:
        nonlocal before
        name = text.rpartition(" ")[0] if "/" in text.rpartition(" ")[2] else text
        if name != before:
            tell(f"… {name}")
        before = name

    return step


def store_url(flag: str | None) -> str:
    """The store that a command works on: the flag, ``ORRIS_STORE``, or the default."""
    import os  # noqa: PLC0415

    from orris.settings import read_settings  # noqa: PLC0415

    return read_settings(os.environ, store=flag).store


def serve_hint(name: str, store: str | None) -> str:
    """The line that says how to serve a published model.

    Args:
        name: The model's name.
        store: The store of the ``--store`` flag, which the server needs too; without one it finds the store itself.
    """
    return f"Serve it:  {command()} serve {name}{'' if store is None else f' --store {store}'}"


def print_bundle(bundle: Bundle, store: str | None) -> None:
    """Print a bundle as JSON, for ``--json`` of train and package; ``store`` is ``None`` if nothing was published."""
    manifest = bundle.manifest
    print_json(
        {
            "name": manifest.name,
            "version": manifest.version,
            "digest": manifest.digest,
            "store": store,
            "folder": str(bundle.folder),
            "metrics": manifest.metrics,
            "verdict": manifest.verdict,
        }
    )
