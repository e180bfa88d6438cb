"""Puts the access rules of a server together from its settings."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from orris.errors import OrrisError, SettingsError
from orris.protocols.status import problem_document, refused
from orris.serving.access.gate import Access, AdminToken
from orris.serving.access.keys import KeyFile
from orris.serving.access.watched import WatchedFile
from orris.serving.exchange import Headers, Reply
from orris.serving.http.cors import Cors
from orris.serving.pages.record import DOCUMENTATION

if TYPE_CHECKING:
    from orris.serving.access.tokens import Tokens
    from orris.serving.http.app import Guard
    from orris.serving.routing import RouteTable
    from orris.settings import Settings


def build_access(settings: Settings, table: RouteTable, *, n_workers: int = 1) -> Access:
    """The access rules; everything is open until the settings say otherwise.

    Args:
        settings: What is guarded, and by which credentials.
        table: The records of the routes, which say what each needs.
        n_workers: Processes that share the traffic.

    Raises:
        SettingsError: A file or URL that cannot be read, or settings that contradict each other.
    """
    if settings.admin_token_sha256 and settings.admin_token_file:
        raise SettingsError(
            "ORRIS_ADMIN_TOKEN_SHA256 and --admin-token-file both name an admin token; give one of them"
        )
    if (settings.rate_limit or settings.rate_burst) and not (settings.api_keys_file or settings.jwt_jwks):
        raise SettingsError(
            "ORRIS_RATE_LIMIT and ORRIS_RATE_BURST count requests by caller: they need --api-keys or --jwt-jwks"
        )
    admin = None
    if settings.admin_token_sha256:
        admin = AdminToken(settings.admin_token_sha256)
    elif settings.admin_token_file:
        admin = AdminToken(file=WatchedFile(Path(settings.admin_token_file), "admin token"))
    keys = KeyFile(Path(settings.api_keys_file)) if settings.api_keys_file else None
    if settings.metrics_auth and not (keys or admin or settings.jwt_jwks):
        raise SettingsError(
            "ORRIS_METRICS_AUTH needs a credential to ask for: --api-keys, --jwt-jwks or --admin-token-file"
        )
    return Access(
        keys=keys,
        tokens=_tokens(settings) if settings.jwt_jwks else None,
        admin=admin,
        rate=settings.rate_limit or None,
        burst=settings.rate_burst or None,
        n_workers=n_workers,
        guard_metrics=settings.metrics_auth,
        guard_openapi=settings.openapi_auth,
        credential_of=table.credential,
    )


def build_guard(access: Access, table: RouteTable, settings: Settings) -> Guard | None:
    """A guard that refuses requests to the pages and probes in the error shape of the path's protocol.

    ``None``: nothing is ever refused.
    """
    if settings.docs and not (access.guards or settings.metrics_auth):
        return None

    def guard(path: str, headers: Headers, request_id: str) -> Reply | None:
        if not settings.docs and table.template(path) in DOCUMENTATION:
            return problem_document(
                HTTPStatus.NOT_FOUND, request_id, "there are no documentation pages here; see ORRIS_DOCS"
            )
        try:
            access.admit_path(path, headers)
        except OrrisError as error:
            return refused(error, request_id, table.error_of(path))
        return None

    return guard


def build_cors(settings: Settings) -> Cors | None:
    """The CORS headers of answers; raises ``SettingsError`` for a value that is not an origin."""
    origins = _listed(settings.cors_origins)
    return Cors(origins) if origins else None


def _tokens(settings: Settings) -> Tokens:
    from orris.serving.access.jwks import JwksFile, JwksUrl  # noqa: PLC0415 (PyJWT is in an extra)
    from orris.serving.access.tokens import Tokens  # noqa: PLC0415

    source = settings.jwt_jwks
    jwks = JwksUrl(source, refresh_seconds=settings.jwt_refresh_seconds) if "://" in source else JwksFile(Path(source))
    return Tokens(
        jwks,
        issuer=settings.jwt_issuer,
        audiences=_listed(settings.jwt_audience),
        algorithms=_listed(settings.jwt_algorithms),
        leeway_seconds=settings.jwt_leeway_seconds,
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip() for part in text.split(",")) if part)
