"""JSON Web Tokens: verified once, then known until they expire."""

from __future__ import annotations

from collections import OrderedDict
from time import time
from typing import Any

import jwt

from orris.errors import SettingsError, UnauthorizedError
from orris.serving.access.caller import Caller
from orris.serving.access.jwks import ASYMMETRIC, Jwks, PublicKey

MAX_KNOWN = 4_096
"""Verified tokens that are remembered."""

MAX_TOKEN_BYTES = 16 * 1024
"""Longer tokens are refused unread."""

_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "the token has expired",
    jwt.ImmatureSignatureError: "the token is not valid yet",
    jwt.InvalidAudienceError: "the token is for another audience",
    jwt.InvalidIssuerError: "the token is from another issuer",
    jwt.MissingRequiredClaimError: "the token lacks a claim",
    jwt.InvalidSignatureError: "the token's signature is wrong",
}


class Tokens:
    """Verifies tokens.

    Args:
        jwks: Where the public keys come from.
        issuer: What ``iss`` has to be.
        audiences: What ``aud`` has to be, or hold one of.
        algorithms: What may be signed with: asymmetric ones alone.
        leeway_seconds: How far clocks may be apart.

    Raises:
        SettingsError: An algorithm that may not be allowed; issuer or audience missing.
    """

    def __init__(
        self, jwks: Jwks, *, issuer: str, audiences: tuple[str, ...], algorithms: tuple[str, ...], leeway_seconds: float
    ) -> None:
        wrong = [name for name in algorithms if name not in ASYMMETRIC]
        if wrong or not algorithms:
            raise SettingsError(
                f"JWT algorithms {', '.join(wrong) or '(none)'}: with public keys only {', '.join(sorted(ASYMMETRIC))}"
                " are safe"
            )
        if not issuer or not audiences:
            raise SettingsError(
                "tokens need ORRIS_JWT_ISSUER and ORRIS_JWT_AUDIENCE: one made for another service must not open"
                " this one"
            )
        self._jwks = jwks
        self._issuer = issuer
        self._audiences = list(audiences)
        self._algorithms = frozenset(algorithms)
        self._leeway = leeway_seconds
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._known_by = jwks.keys

    def find(self, token: bytes, now: float) -> Caller:
        """The caller of a token.

        Args:
            token: The token as it was sent.
            now: Seconds of the monotonic clock.

        Raises: UnauthorizedError: The token is not valid, for any reason.
        """
        self._jwks.refresh(now)
        if self._known_by is not self._jwks.keys:  # a key that was withdrawn takes its tokens with it
            self._known.clear()
            self._known_by = self._jwks.keys
        known = self._known.get(token)
        if known is not None and time() < known.expires:
            self._known.move_to_end(token)
            return known
        caller = self._verified(token, now)
        self._known[token] = caller
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return caller

    def _verified(self, token: bytes, now: float) -> Caller:
        if len(token) > MAX_TOKEN_BYTES:
            raise UnauthorizedError("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header, now)
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[header["alg"]],
                audience=self._audiences,
                issuer=self._issuer,
                leeway=self._leeway,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
            expires = float(claims["exp"]) + self._leeway
        except jwt.PyJWTError as error:
            reason = next(
                (_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS), "the token is malformed"
            )
            raise UnauthorizedError(reason) from None
        except (ValueError, TypeError, ArithmeticError, RecursionError, AttributeError):
            raise UnauthorizedError("the token is malformed") from None
        return Caller(f"token:{claims.get('sub', '')}", expires=expires)

    def _key(self, header: dict[str, Any], now: float) -> PublicKey:
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise UnauthorizedError("the token's algorithm is not allowed")
        found = [key for key in self._jwks.keys if (kid is None or key.kid == kid) and algorithm in key.algorithms]
        if not found:
            self._jwks.missed(now)
            raise UnauthorizedError("the token's key is not known")
        if len(found) > 1:
            raise UnauthorizedError("the token does not say which key it was signed with")
        return found[0]
