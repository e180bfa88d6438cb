"""Headers that take from browsers what no answer of ours needs: guessing types, framing, referrers, devices."""

from __future__ import annotations

from collections.abc import Iterable

NOSNIFF = (b"x-content-type-options", b"nosniff")
"""On every answer."""

PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""On every HTML page that does not say otherwise itself."""


def harden(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and those that it lacks."""
    given = list(headers)
    names = {name for name, _ in given}
    is_page = any(name == b"content-type" and value.startswith(b"text/html") for name, value in given)
    wanted = (NOSNIFF, *PAGE_HEADERS) if is_page else (NOSNIFF,)
    return [*given, *(header for header in wanted if header[0] not in names)]
