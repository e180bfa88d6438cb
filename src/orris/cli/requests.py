"""Options of the requests that ``orris load`` and ``orris plan`` send."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orris.errors import SettingsError

RowsOption = Annotated[
    Path | None,
    typer.Option("--rows", help="Rows to send: CSV, a JSON list or JSON lines [default: by the model's schema]"),
]
RowsPerRequestOption = Annotated[int, typer.Option("--rows-per-request", min=1, help="Rows in each request.")]
HeaderOption = Annotated[
    list[str] | None, typer.Option("--header", help="'Name: value', sent with each request; may be repeated.")
]


def parse_headers(lines: Sequence[str], api_key: str = "") -> dict[str, str]:
    """Headers as ``--header`` gives them, by name in lower case.

    Args:
        lines: Each ``Name: value``.
        api_key: Sent as a bearer token; empty for none.

    Raises:
        SettingsError: A line is malformed.
    """
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or "\n" in line or "\r" in line:
            raise SettingsError(f"--header '{line}': write  'Name: value'")
        headers[name.strip().lower()] = value.strip()
    return headers


def parse_mix(flag: str, entries: Sequence[str]) -> dict[str, float]:
    """Protocols with their weights, each given as ``NAME`` or ``NAME=WEIGHT``.

    Raises:
        SettingsError: A weight is no number, or a protocol is unknown; names the flag.
    """
    from orris.loadtest.preparation import check_mix  # noqa: PLC0415

    weights: dict[str, float] = {}
    for entry in entries:
        name, _, weight = entry.strip().partition("=")
        try:
            weights[name] = float(weight or 1)
        except ValueError:
            raise SettingsError(f"{flag} {entry}: '{weight}' is no number; write  native=3") from None
    check_mix(weights)
    return weights
