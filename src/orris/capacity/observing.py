"""A server's processor time and memory: the metrics of its processes, all workers together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.error import URLError
from urllib.request import Request, urlopen

ASK_SECONDS = 10.0

_VALUE = r"^{name}(?:\{{[^}}]*\}})? ([0-9.e+-]+)$"


@dataclass(frozen=True)
class Usage:
    """The resources that a server has used so far; NaN where it does not report them.

    Attributes:
        cpu_seconds: Processor time of all its processes.
        memory_bytes: Their resident memory.
    """

    cpu_seconds: float = float("nan")
    memory_bytes: float = float("nan")


def usage_of(url: str, headers: Mapping[str, str] | None = None) -> Callable[[], Usage]:
    """A function that asks a server's ``/metrics``.

    Args:
        url: The server.
        headers: Sent with the request, for a server whose metrics need a credential.
    """
    request = Request(f"{url.rstrip('/')}/metrics", headers=dict(headers or {}))  # noqa: S310 (the user's own URL)

    def ask() -> Usage:
        try:
            with urlopen(request, timeout=ASK_SECONDS) as answer:  # noqa: S310
                text = answer.read().decode("utf-8", "replace")
        except (URLError, OSError):
            return Usage()
        return Usage(_value(text, "process_cpu_seconds_total"), _value(text, "process_resident_memory_bytes"))

    return ask


def _value(text: str, name: str) -> float:
    found = re.search(_VALUE.format(name=name), text, re.MULTILINE)
    return float(found.group(1)) if found else float("nan")
