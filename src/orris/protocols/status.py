"""Error -> status, in one table, and the RFC 9457 problem document that most routes answer with."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from orris.errors import (
    BodyError,
    ConflictError,
    ForbiddenError,
    MalformedReferenceError,
    MediaTypeError,
    NotFoundError,
    NotOfferedError,
    NotReadyError,
    OrrisError,
    OverloadedError,
    RateLimitError,
    RequestTimeoutError,
    RowError,
    TooLargeError,
    UnauthorizedError,
)
from orris.serving.exchange import PROBLEM_JSON, ProblemDocument, Reply

STATUS: dict[type[OrrisError], tuple[int, str]] = {
    BodyError: (400, "INVALID_ARGUMENT"),
    MalformedReferenceError: (400, "INVALID_ARGUMENT"),
    UnauthorizedError: (401, "UNAUTHENTICATED"),
    ForbiddenError: (403, "PERMISSION_DENIED"),
    NotFoundError: (404, "NOT_FOUND"),
    RequestTimeoutError: (408, "DEADLINE_EXCEEDED"),
    ConflictError: (409, "FAILED_PRECONDITION"),
    TooLargeError: (413, "RESOURCE_EXHAUSTED"),
    MediaTypeError: (415, "INVALID_ARGUMENT"),
    RowError: (422, "INVALID_ARGUMENT"),
    RateLimitError: (429, "RESOURCE_EXHAUSTED"),
    NotOfferedError: (501, "UNIMPLEMENTED"),
    NotReadyError: (503, "UNAVAILABLE"),
    OverloadedError: (503, "UNAVAILABLE"),
}
"""Every error that a client may see, with its HTTP status and its gRPC code.

Other errors are 500 and INTERNAL, with a request id and nothing else.

The pairs are those of ``google.rpc.Code``; a message that is too long is what gRPC's own limit calls it.
"""


_HEADERS: dict[int, tuple[tuple[bytes, bytes], ...]] = {
    401: ((b"www-authenticate", b'Bearer realm="orris"'),),
    408: ((b"connection", b"close"),),
    413: ((b"connection", b"close"),),
    503: ((b"retry-after", b"1"),),
}

_MLFLOW_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""MLflow's ``ErrorCode`` of each HTTP status (``mlflow.exceptions.ERROR_CODE_TO_HTTP_STATUS``)."""

MAX_PROBLEMS = 10
"""The largest number of problems that the text of an error lists."""


def status_of(error: Exception) -> int:
    """The HTTP status of an error."""
    return next((STATUS[kind][0] for kind in type(error).__mro__ if kind in STATUS), 500)


def code_of(error: Exception) -> str:
    """The name of an error's gRPC status."""
    return next((STATUS[kind][1] for kind in type(error).__mro__ if kind in STATUS), "INTERNAL")


def mlflow_code_of(status: int) -> str:
    """MLflow's name for an HTTP status; one without a name of its own has that of 400 or 500."""
    return _MLFLOW_CODES.get(status, _MLFLOW_CODES[400 if status < HTTPStatus.INTERNAL_SERVER_ERROR else 500])


def headers_of(error: Exception) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that the answer to an error has in every protocol."""
    if isinstance(error, RateLimitError):
        return ((b"retry-after", b"%d" % error.retry_after_seconds),)
    return _HEADERS.get(status_of(error), ())


def status_and_text(error: Exception, request_id: str) -> tuple[int, str]:
    """Status and text of an error, for protocols that answer with a text alone.

    These protocols have no 422: invalid rows are 400.
    """
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return status, f"the server failed; its log has the rest under request id {request_id}"
    if not isinstance(error, RowError):
        return status, str(error)
    texts = [str(RowError([problem])) for problem in error.problems[:MAX_PROBLEMS]]
    if len(error.problems) > MAX_PROBLEMS:
        texts.append(f"and {len(error.problems) - MAX_PROBLEMS} more")
    return int(HTTPStatus.BAD_REQUEST), "; ".join(texts)


def refused(error: OrrisError, request_id: str, write: ProblemDocument | None = None) -> Reply:
    """An error as the answer of a page, a probe or an action, in the shape of its path's protocol."""
    if write is None:
        return problem(error, request_id)
    status, text = status_and_text(error, request_id)
    return write(status, request_id, text)._replace(headers=headers_of(error))


def problem(error: Exception, request_id: str) -> Reply:
    """An error as ``application/problem+json``."""
    status = status_of(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem_document(status, request_id)
    errors = []
    if isinstance(error, RowError):
        errors = [{"row": p.row, "column": p.column, "problem": p.problem} for p in error.problems]
    return problem_document(status, request_id, str(error), errors)._replace(headers=headers_of(error))


def problem_document(
    status: int, request_id: str, detail: str = "", errors: list[dict[str, Any]] | None = None
) -> Reply:
    """A problem document for a status, with what the client may know."""
    document: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        document["detail"] = detail
        if status == HTTPStatus.BAD_REQUEST:
            document["error"] = detail  # where callers of simpler servers look
    if errors:
        document["errors"] = errors
    document["request_id"] = request_id
    return Reply(status, msgspec.json.encode(document), PROBLEM_JSON, _HEADERS.get(status, ()))
