"""The public keys that tokens are signed with: a JWKS (RFC 7517) from a file or a URL, renewed while the server runs.

A URL is fetched on a thread of its own: a request never waits for it. A token that names an unknown key asks for a
fetch, and no more than one in ``UNKNOWN_KEY_SECONDS`` is made, however many such tokens come. When a fetch fails, the
keys that were fetched before stay in force.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import urllib.error
import urllib.request
import weakref
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Protocol
from urllib.parse import urlsplit

from orris.errors import MissingExtraError, SettingsError
from orris.serving.access.watched import MAX_FILE_BYTES, WatchedFile

try:
    import jwt
except ImportError:  # pragma: no cover (the extra is installed where the tests run)
    raise MissingExtraError("jwt", "checking JSON Web Tokens") from None

UNKNOWN_KEY_SECONDS = 10.0
"""Shortest time between two fetches that tokens with unknown keys may cause.

Also the first wait after a fetch that failed.
"""

FETCH_SECONDS = 5.0
"""Longest time that a fetch takes in all, however slowly its bytes come."""

MIN_RSA_BITS = 2048
"""Shorter RSA keys are not taken (RFC 7518, 3.3)."""

_ALGORITHMS = {
    "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
    "P-256": {"ES256"},
    "P-384": {"ES384"},
    "P-521": {"ES512"},
    "Ed25519": {"EdDSA"},
    "Ed448": {"EdDSA"},
}
ASYMMETRIC = frozenset[str]().union(*_ALGORITHMS.values())
"""The algorithms that may be configured.

With public keys, ``HS*`` would let anyone who can read them sign; ``none`` is no signature.
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of the set.

    Attributes:
        kid: Its id; ``None`` if it has none.
        algorithms: The algorithms that it may verify.
        key: What PyJWT verifies with.
    """

    kid: str | None
    algorithms: frozenset[str]
    key: Any


class Jwks(Protocol):
    """Where public keys come from.

    Attributes:
        keys: The keys in force; another tuple once they have changed.
    """

    keys: tuple[PublicKey, ...]

    def refresh(self, now: float) -> None:
        """Called before keys are looked up; ``now`` is the monotonic clock's."""

    def missed(self, now: float) -> None:
        """Called when a token names a key that is not there."""


class JwksFile:
    """A JWKS in a file, read again when it changes; raises ``SettingsError`` if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "JWKS")
        self.keys = read_jwks(self._file.read(), str(path))

    def refresh(self, now: float) -> None:
        """Take the keys of a changed file; those of a malformed one are not taken."""
        content = self._file.changed(now)
        if content is None:
            return
        try:
            self.keys = read_jwks(content, str(self._file.path))
        except SettingsError as error:
            logger.error("the JWKS that was read before stays in force: %s", error)

    def missed(self, now: float) -> None:
        """A file is looked at anyway."""


class JwksUrl:
    """A JWKS behind a URL. The first fetch is made here, later ones on a thread that starts with the first lookup.

    Args:
        url: ``https:``; plain ``http:`` only to this machine.
        refresh_seconds: Time between two fetches.
        unknown_key_seconds: Shortest time between two fetches that unknown keys may cause.

    Raises:
        SettingsError: The URL may not be used, does not answer, or answers with something else.
    """

    def __init__(self, url: str, *, refresh_seconds: float, unknown_key_seconds: float = UNKNOWN_KEY_SECONDS) -> None:
        self._url = url
        self._refresh_seconds = refresh_seconds
        self._unknown_key_seconds = min(unknown_key_seconds, refresh_seconds)
        self._wanted = threading.Event()
        self._process = 0
        self._n_failures = 0
        self.keys = read_jwks(_fetch(url), url)
        self._asked_at = monotonic()

    def refresh(self, now: float) -> None:
        """Ensure that the fetching thread runs in this process.

        Workers may have been forked from the process that started it.
        """
        if self._process != os.getpid():
            self._process = os.getpid()
            overdue = now - self._asked_at >= self._refresh_seconds
            self._wanted = threading.Event()
            if overdue:
                self._wanted.set()
            threading.Thread(
                target=_keep_fresh, args=(weakref.ref(self), self._wanted), name="orris-jwks", daemon=True
            ).start()

    def missed(self, now: float) -> None:
        """Fetch soon, unless that was done a moment ago."""
        if now - self._asked_at >= self._unknown_key_seconds:
            self._asked_at = now
            self._wanted.set()

    def fetch(self) -> None:
        """Fetch now; what fails is logged, and the keys stay. Waits for the network: for the fetching thread."""
        self._asked_at = monotonic()
        try:
            keys = read_jwks(_fetch(self._url), self._url)
        except SettingsError as error:
            self._n_failures += 1
            logger.error("the keys that were fetched before stay in force: %s", error)
            return
        self._n_failures = 0
        if _told_apart(keys) != _told_apart(self.keys):
            self.keys = keys

    @property
    def pause_seconds(self) -> float:
        """Time to the next fetch; after failures the wait begins short, and doubles."""
        if not self._n_failures:
            return self._refresh_seconds
        return min(self._refresh_seconds, self._unknown_key_seconds * 2.0 ** min(self._n_failures - 1, 16))


def _keep_fresh(owner: weakref.ref[JwksUrl], wanted: threading.Event) -> None:
    """The fetching thread; it ends with the keys that it keeps."""
    while (jwks := owner()) is not None:
        pause_seconds = jwks.pause_seconds
        del jwks
        wanted.wait(pause_seconds)
        wanted.clear()
        jwks = owner()
        if jwks is not None:
            jwks.fetch()
            del jwks


def read_jwks(content: bytes, where: str) -> tuple[PublicKey, ...]:
    """The keys of a JWKS that can verify a signature.

    Symmetric, encryption, short and unknown keys are left out.

    Raises:
        SettingsError: It is malformed, or has no such key.
    """
    try:
        document = json.loads(content)
        entries = [entry for entry in document["keys"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SettingsError(f'{where}: this is no JWKS; an object {{"keys": […]}} in JSON is needed') from None
    keys = tuple(key for key in map(_public_key, entries) if key is not None)
    if not keys:
        raise SettingsError(
            f"{where}: there is no public key here that verifies signatures (RSA of {MIN_RSA_BITS} bits or more, EC,"
            " Ed25519)"
        )
    return keys


def _public_key(entry: dict[str, Any]) -> PublicKey | None:
    kind = entry.get("kty") if entry.get("kty") == "RSA" else entry.get("crv")
    algorithms = _ALGORITHMS.get(kind, set()) if isinstance(kind, str) else set()
    if isinstance(entry.get("alg"), str):
        algorithms = algorithms & {entry["alg"]}
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    if (
        not algorithms
        or entry.get("use", "sig") != "sig"
        or "verify" not in operations
        or not isinstance(kid, str | None)
    ):
        return None
    public = {name: value for name, value in entry.items() if name not in {"d", "p", "q", "dp", "dq", "qi"}}
    try:
        key = jwt.PyJWK(public, algorithm=min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if kind == "RSA" and key.key_size < MIN_RSA_BITS:
        return None
    return PublicKey(kid, frozenset(algorithms), key)


def _told_apart(keys: tuple[PublicKey, ...]) -> list[Any]:
    """The identity of a set of keys, for comparisons."""
    return [(key.kid, key.algorithms, key.key) for key in keys]


def _fetch(url: str) -> bytes:
    _require_safe(url)
    request = urllib.request.Request(url, headers={"accept": "application/jwk-set+json, application/json"})  # noqa: S310 (see _require_safe)
    sockets: list[socket.socket] = []
    late = threading.Event()
    content = b""
    timer = threading.Timer(FETCH_SECONDS, _cut, (sockets, late))
    timer.daemon = True
    timer.start()
    try:
        opener = urllib.request.build_opener(_SafeRedirects, _Plain(sockets), _Secure(sockets))
        with opener.open(request, timeout=FETCH_SECONDS) as response:
            content = bytes(response.read(MAX_FILE_BYTES + 1))
    except (OSError, ValueError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        if not late.is_set():
            raise SettingsError(f"JWKS {url} cannot be fetched: {error}") from None
    finally:
        timer.cancel()
        for each in sockets:
            each.close()
    if late.is_set():
        raise SettingsError(f"JWKS {url} cannot be fetched: it did not arrive within {FETCH_SECONDS:g} s")
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"JWKS {url} is longer than {MAX_FILE_BYTES} bytes")
    return content


def _cut(sockets: list[socket.socket], late: threading.Event) -> None:
    """End what is being read: a time-out of a socket begins anew with every byte."""
    late.set()
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class _Plain(urllib.request.HTTPHandler):
    """Keeps the socket of each connection in a list."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def http_open(self, req: urllib.request.Request) -> Any:
        """Open a connection over HTTP."""
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._sockets), req)


class _Secure(urllib.request.HTTPSHandler):
    """The same with TLS; certificates are verified."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        super().__init__()
        self._sockets = sockets

    def https_open(self, req: urllib.request.Request) -> Any:
        """Open a connection over HTTPS."""
        made = partial(_connection, http.client.HTTPSConnection, self._sockets)
        return self.do_open(made, req, context=ssl.create_default_context())


def _connection(
    kind: type[http.client.HTTPConnection], sockets: list[socket.socket], *arguments: Any, **options: Any
) -> http.client.HTTPConnection:
    connection = kind(*arguments, **options)
    connect = connection.connect

    def kept() -> None:
        connect()
        sockets.append(connection.sock)

    connection.connect = kept  # type: ignore[method-assign]
    return connection


def _require_safe(url: str) -> None:
    """Who can change the keys on their way can sign any token."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}):
        return
    raise SettingsError(
        f"JWKS {url}: only https:// is fetched (http:// from this machine alone); give a URL with https://, or a file"
    )


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """Follow a redirect only to where the URL itself may point."""
        _require_safe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
