"""Error -> status, in one table, and the RFC 9457 problem document that most routes answer with."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from orris.errors import BodyError, MediaTypeError, NotFoundError, NotReadyError, OrrisError, OverloadedError, RowError, TooLargeError
from orris.serving.exchange import PROBLEM_JSON, Reply

STATUS: dict[type[OrrisError], int] = {
    BodyError: 400,
    NotFoundError: 404,
    TooLargeError: 413,
    MediaTypeError: 415,
    RowError: 422,
    NotReadyError: 503,
    OverloadedError: 503,
}
"""Every error that a client may be told about; all others are 500, with a request id and nothing else."""


_HEADERS: dict[int, tuple[tuple[bytes, bytes], ...]] = {413: ((b"connection", b"close"),), 503: ((b"retry-after", b"1"),)}


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem(error: Exception, request_id: str) -> Reply:
    """An error as ``application/problem+json``."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_document(status, request_id)
    errors = []
    if isinstance(error, RowError):
        errors = [{"row": p.row, "column": p.column, "problem": p.problem} for p in error.problems]
    return problem_document(status, request_id, str(error), errors)


def problem_document(status: int, request_id: str, detail: str = "", errors: list[dict[str, Any]] | None = None) -> Reply:
    """A problem document for a status, with what the client may know."""
    document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        document["detail"] = detail
    if errors:
        document["errors"] = errors
    document["request_id"] = request_id
    return Reply(status, msgspec.json.encode(document), PROBLEM_JSON, _HEADERS.get(status, ()))
