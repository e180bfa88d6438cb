"""Decides whether there is tracing, and loads OpenTelemetry only then."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orris.errors import MissingExtraError
from orris.telemetry.server_log import tell

if TYPE_CHECKING:
    from orris.settings import Settings
    from orris.telemetry.tracing import Tracing

NAMING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables that say where spans go: with one of them set, ``auto`` means on."""


def build_tracing(
    settings: Settings, skipped: Callable[[str], bool], environ: Mapping[str, str] = os.environ
) -> Tracing | None:
    """The recorder of spans of this process; ``None``: tracing is off. Paths that are ``skipped`` are not recorded.

    Call it in the process that serves: threads do not survive a fork.

    Raises: MissingExtraError: Tracing is on, and OpenTelemetry is not installed. SettingsError: A variable of
    OpenTelemetry has an unknown value.
    """
    wanted = wants_tracing(settings, environ)
    if not wanted:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        if settings.tracing == "on":
            raise MissingExtraError("otel", "ORRIS_TRACING=on")
        tell("tracing is off: OpenTelemetry is not installed; install it with  pip install 'orris[otel]'", "warning")
        return None
    from orris.telemetry.tracing import start_tracing  # noqa: PLC0415 (OpenTelemetry, which most servers never need)

    try:
        return start_tracing(environ, skipped, numbered=settings.access_log and settings.log_sample < 1)
    except MissingExtraError as error:
        if settings.tracing == "on":
            raise
        tell(f"tracing is off: {error}", "warning")
        return None


def wants_tracing(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether spans are to be recorded."""
    if settings.tracing == "off" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if settings.tracing == "on":
        return True
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporters != "none" and any(environ.get(name, "").strip() for name in NAMING)
