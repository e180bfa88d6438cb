"""The settings of a process, read once from ``ORRIS_*`` variables and flags, and frozen.

A flag wins over its variable. An unknown or malformed variable stops the process: a typo must not silently mean the default.
``docs/settings.md`` documents every field; a test holds it complete.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from orris.errors import SettingsError

PREFIX = "ORRIS_"
DEFAULT_STORE = "./artifacts"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a process was told.

    Attributes:
        store: URL of the model store: a directory, ``gs://``, ``s3://``.
        host: Address that the server listens on.
        port: Port that the server listens on; 0 takes a free one.
        threads: Threads for one call of the model.
        max_body_bytes: Longest request body; a longer one is answered with 413.
        max_rows: Most rows that one request may hold.
        max_header_bytes: Most bytes of a request line with its headers; more are answered with 431.
        max_in_flight: Requests answered at once; more are refused with 503 and ``Retry-After`` rather than queued.
        request_seconds: Longest time from a request's first byte to its last; a slower client is cut off.
        access_log: Whether a JSON line per request goes to standard output.
        verify_key: Public key (PEM) that a bundle's signature must verify with before it is loaded; empty: signatures are not asked for.
    """

    store: str = DEFAULT_STORE
    host: str = "127.0.0.1"
    port: Port = 8000
    threads: Positive = 1
    max_body_bytes: Positive = 32 * 1024 * 1024
    max_rows: Positive = 100_000
    max_header_bytes: Positive = 32 * 1024
    max_in_flight: Positive = 4_096
    request_seconds: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    access_log: bool = True
    verify_key: str = ""


def read_settings(environ: Mapping[str, str], **flags: Any) -> Settings:
    """Settings from ``ORRIS_*`` variables of ``environ`` and from flags; a flag that is ``None`` was not given.

    Raises:
        SettingsError: An unknown or malformed variable or flag; names it, and what it may be.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else f"; known are {', '.join(PREFIX + n.upper() for n in fields)}"
            raise SettingsError(f"unknown setting {variable}{hint}")
        values[name] = _convert(variable, text, fields[name].type)
    for name, value in flags.items():
        if value is not None:
            values[name] = _convert(f"--{name.replace('_', '-')}", value, fields[name].type)
    return Settings(**values)


def _convert(key: str, value: Any, wanted: Any) -> Any:
    if wanted is bool and isinstance(value, str):
        value = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}.get(
            value.lower(), value
        )
    try:
        return msgspec.convert(value, wanted, strict=isinstance(value, bool))
    except msgspec.ValidationError as error:
        raise SettingsError(f"{key}={value}: {error}") from None
