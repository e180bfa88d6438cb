"""Cross-origin requests: which pages of other sites may call this server from a browser.

None may, until origins are configured.

Credentials in the sense of CORS (cookies, client certificates) are never allowed: this server reads none. A key or a
token is a header, which a page has to be given, and so even ``*`` lets no page act for a user who did not give it one.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from orris.errors import SettingsError
from orris.serving.exchange import TEXT, Headers, Reply

MAX_AGE_SECONDS = 600
"""How long a browser remembers that it may."""

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+([ ]*,[ ]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_EXPOSED = b"x-request-id, x-process-time, retry-after, inference-header-content-length, traceparent"

HeaderList = tuple[tuple[bytes, bytes], ...]


class Cors:
    """The headers of answers about origins.

    Args:
        origins: Origins as browsers send them, such as ``https://shop.example``, or ``*``.

    Raises:
        SettingsError: Something that is no origin.
    """

    def __init__(self, origins: tuple[str, ...]) -> None:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"--cors-origin {origin}: an origin is  https://host  or  https://host:port, in lower case and no"
                    " more; or *"
                )
        self._any = "*" in origins
        self._vary: HeaderList = () if self._any else ((b"vary", b"origin"),)
        self._allowed = {} if self._any else {origin.encode(): self._headers(origin.encode()) for origin in origins}
        self._open = self._headers(b"*")

    def headers(self, headers: Headers) -> HeaderList:
        """The headers that an answer to a request with these headers gets."""
        origin = headers.get(b"origin")
        if self._any:
            return self._open if origin is not None else ()
        return self._allowed.get(origin, self._vary) if origin is not None else self._vary

    def preflight(self, headers: Headers) -> Reply | None:
        """The answer to an ``OPTIONS`` by which a browser asks beforehand; ``None`` if it is none.

        ``headers`` have to be added to it.
        """
        if b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        if not self._any and headers[b"origin"] not in self._allowed:
            return Reply(HTTPStatus.FORBIDDEN, b"this origin may not call this server; see ORRIS_CORS_ORIGINS", TEXT)
        asked = headers.get(b"access-control-request-headers", b"")
        allowed: HeaderList = (
            (b"access-control-allow-methods", b"GET, HEAD, POST"),
            (b"access-control-max-age", b"%d" % MAX_AGE_SECONDS),
        )
        if len(asked) <= 1024 and _NAMES.fullmatch(asked):
            allowed += ((b"access-control-allow-headers", asked),)
        return Reply(HTTPStatus.OK, b"", TEXT, allowed)

    def _headers(self, origin: bytes) -> HeaderList:
        return (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSED),
            *self._vary,
        )
