"""Puts together the request log and the server log."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orris.errors import SettingsError
from orris.telemetry.server_log import ServerLog, coloured, open_server_log

if TYPE_CHECKING:
    from orris.schema import Schema
    from orris.settings import Settings
    from orris.telemetry.request_log import RequestLog


def start_server_log(settings: Settings, dropped: Counter[str] | None = None) -> ServerLog:
    """Open the server log in the configured form; called in each process."""
    return open_server_log(settings.log_format, settings.log_level, project_of(settings), dropped)


def build_log(settings: Settings, schemas: Iterable[Schema], dropped: Counter[str]) -> RequestLog:
    """The log of requests.

    Args:
        settings: What was asked for.
        schemas: Of the models that are loaded.
        dropped: Where lines that nobody took are counted.

    Raises:
        SettingsError: A column is to be redacted that no model has: a typo would let its values out.
    """
    from orris.telemetry.request_log import LogStyle, RequestLog  # noqa: PLC0415 (NumPy, which the supervisor of several workers does without)

    redact = _names(settings.log_redact)
    known = {name for schema in schemas for name in schema.names}
    if not redact <= known:
        unknown, names = ", ".join(sorted(redact - known)), ", ".join(sorted(known))
        raise SettingsError(
            f"ORRIS_LOG_REDACT={settings.log_redact}: no model has a column {unknown}; there are {names}"
        )
    style = LogStyle(
        form=settings.log_format,
        level=settings.log_level,
        sample=settings.log_sample,
        values=settings.log_values,
        redact=redact,
        project=project_of(settings),
        colour=settings.log_format == "console" and coloured(1),
    )
    return RequestLog(enabled=settings.access_log, style=style, dropped=dropped)


def project_of(settings: Settings) -> str:
    """The Google Cloud project that traces belong to; empty: none is known."""
    return settings.log_project or os.environ.get("GOOGLE_CLOUD_PROJECT", "")


def _names(text: str) -> frozenset[str]:
    """Names with commas between them; one that holds a comma stands in double quotes, as in CSV."""
    rows = csv.reader([text], skipinitialspace=True)
    return frozenset(name.strip() for row in rows for name in row if name.strip())
