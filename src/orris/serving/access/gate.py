"""Checks a request before it is answered: its credential, its rate, and its right to the operation."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic, time
from typing import TYPE_CHECKING

from orris.errors import ForbiddenError, SettingsError, UnauthorizedError
from orris.serving.access.caller import Caller
from orris.serving.access.keys import KeyFile, KeyRing, digest_of
from orris.serving.access.rates import Rates
from orris.serving.access.watched import CHECK_SECONDS, WatchedFile, logger
from orris.serving.exchange import Headers
from orris.serving.protocol import Credential

if TYPE_CHECKING:
    from orris.serving.access.tokens import Tokens

ADMIN = Caller("admin", admin=True)

MIN_ADMIN_TOKEN_BYTES = 16
"""Shorter admin tokens are not taken."""


class AdminToken:
    """The administrator's token: a hash that was given, or a file that holds the token itself.

    Args:
        sha256: The hash, 64 hexadecimal digits.
        file: The file, read again when it changes.

    Raises:
        SettingsError: The hash or the file is malformed.
    """

    def __init__(self, sha256: str = "", file: WatchedFile | None = None) -> None:
        self._file = file
        if file is not None:
            self.ring = self._of(file.read())
            return
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise SettingsError(
                "ORRIS_ADMIN_TOKEN_SHA256 is not 64 hexadecimal digits; make a token and its hash with  orris keys new"
            )
        self.ring = KeyRing([(bytes.fromhex(sha256), ADMIN)])

    def refresh(self, now: float) -> None:
        """Take the token of a changed file."""
        content = self._file.changed(now) if self._file is not None else None
        if content is None:
            return
        try:
            self.ring = self._of(content)
        except SettingsError as error:
            logger.error("the admin token that was read before stays in force: %s", error)

    def _of(self, content: bytes) -> KeyRing:
        token = content.strip()
        if len(token) < MIN_ADMIN_TOKEN_BYTES:
            where = self._file.path if self._file is not None else ""
            raise SettingsError(
                f"{where}: an admin token of {MIN_ADMIN_TOKEN_BYTES} characters or more is needed; make one with  orris"
                " keys new"
            )
        return KeyRing([(digest_of(token), ADMIN)])


class Access:
    """The access rules of a process. Calls come from the loop's thread.

    Args:
        keys: API keys.
        tokens: Verifies JSON Web Tokens.
        admin: The administrator's token; its owner may do all that a key may.
        rate: Requests per second of callers whose key says nothing else; ``None``: unlimited.
        burst: Requests at once of the same; ``None``: one second's worth.
        n_workers: Processes that share the traffic.
        guard_metrics: Whether metrics need a credential.
        guard_openapi: Whether the OpenAPI document needs a credential where predictions do.
        credential_of: What a request of a path needs, as the records of the routes say.
    """

    def __init__(
        self,
        *,
        keys: KeyFile | None = None,
        tokens: Tokens | None = None,
        admin: AdminToken | None = None,
        rate: float | None = None,
        burst: int | None = None,
        n_workers: int = 1,
        guard_metrics: bool = False,
        guard_openapi: bool = True,
        credential_of: Callable[[str], Credential] = lambda _: Credential.CALLER,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._admin = admin
        self._rate = rate
        self._burst = burst
        self._rates = Rates(n_workers)
        self._guard_metrics = guard_metrics
        self._guard_openapi = guard_openapi
        self._credential_of = credential_of
        self._next_check = 0.0

    @property
    def guards(self) -> bool:
        """Whether predictions need a credential."""
        return self._keys is not None or self._tokens is not None

    @property
    def administered(self) -> bool:
        """Whether there is an administrator: a token, or a key that is one's."""
        return self._admin is not None or (self._keys is not None and self._keys.ring.has_admin)

    def admit(self, headers: Headers) -> None:
        """Let a request pass that needs a credential.

        Args:
            headers: Headers of HTTP, or metadata of gRPC, by lower-case name.

        Raises:
            UnauthorizedError: No valid credential.
            RateLimitError: Its owner has used up the rate.
        """
        now = monotonic()
        caller = self._identify(headers, now)
        rate = caller.rate or self._rate
        if rate is not None:
            self._rates.take(caller.name, rate, caller.burst if caller.rate or caller.burst else self._burst, now)

    def admit_path(self, path: str, headers: Headers) -> None:
        """Let a request of a page, a probe or a call pass that asks no model; raises as ``admit`` does.

        A path that no record has needs a credential. Whether its owner is an administrator is ``require_admin``'s.
        """
        if self.asks(self._credential_of(path)):
            self._identify(headers, monotonic())

    def asks(self, credential: Credential) -> bool:
        """Whether a route with this record needs a caller's credential here."""
        if credential is Credential.METRICS:
            return self._guard_metrics
        if credential is Credential.OPENAPI:
            return self.guards and self._guard_openapi
        return self.guards and credential is not Credential.NONE

    def require_admin(self, headers: Headers) -> None:
        """Let an operation of the administrator pass.

        Raises:
            UnauthorizedError: No valid credential.
            ForbiddenError: Its owner is not an administrator, or there is none: the operations are off.
        """
        now = monotonic()
        self._refresh(now)
        if not self.administered:
            raise ForbiddenError(
                "this operation is off; it needs ORRIS_ADMIN_TOKEN_SHA256, --admin-token-file, or an API key with admin"
                " = true"
            )
        if not self._identify(headers, now).admin:
            raise ForbiddenError("this operation is the administrator's")

    def _refresh(self, now: float) -> None:
        self._next_check = now + CHECK_SECONDS
        if self._keys is not None:
            self._keys.refresh(now)
        if self._admin is not None:
            self._admin.refresh(now)

    def _identify(self, headers: Headers, now: float) -> Caller:
        """The owner of the credential; ``x-api-key`` counts if both are sent."""
        if now >= self._next_check:
            self._refresh(now)
        credential = headers.get(b"x-api-key")
        if credential is None:
            scheme, _, credential = headers.get(b"authorization", b"").partition(b" ")
            credential = credential.strip()
            if scheme.lower() != b"bearer" or not credential:
                raise UnauthorizedError("no credential was sent")
            if self._tokens is not None and credential.count(b".") == 2:
                return self._tokens.find(credential, now)
        caller = self._keys.ring.find(credential) if self._keys is not None else None
        if caller is None and self._admin is not None:
            caller = self._admin.ring.find(credential)
        if caller is None:
            raise UnauthorizedError("the key is not known")
        if caller.expires <= time():
            raise UnauthorizedError(f"{caller.name} has expired")
        return caller
