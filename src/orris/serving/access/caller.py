"""Who sent a request."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a valid credential.

    Attributes:
        name: ``key:NAME`` or ``token:SUBJECT``; rates are counted by it.
        admin: May load, unload and reload models.
        rate: Requests per second; ``None``: the server's own limit counts.
        burst: Requests that may come at once; ``None``: one second's worth.
        expires: Seconds since the epoch from which the credential is no longer valid.
    """

    name: str
    admin: bool = False
    rate: float | None = None
    burst: int | None = None
    expires: float = inf
