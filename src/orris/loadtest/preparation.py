"""Asks a server what its model reads, makes requests of it, and tries one of each kind."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from orris.errors import LoadTestError, MissingExtraError, SettingsError
from orris.loadtest.dialects import DIALECTS, GRPC_METHOD, Body, Model
from orris.loadtest.rows import Card, Row, drawn_rows, read_rows
from orris.loadtest.target import Route, Target, http_request, place_of

CARD, GRPC_PORT = "/api/v1/model/card", 8001
ASK_SECONDS = 10.0
"""Longest that a server may take to answer before the load test begins."""

_SHOWN = 300


def prepare(
    url: str,
    *,
    mix: Mapping[str, float] | None = None,
    model: str = "",
    rows: Sequence[Row] | Path | None = None,
    n_rows: int = 256,
    rows_per_request: int = 1,
    headers: Mapping[str, str] | None = None,
    grpc_address: str = "",
    tls_ca: Path | None = None,
    seed: int = 0,
) -> Target:
    """Make requests for a server's model, and try one of each kind.

    Args:
        url: The server, such as ``http://localhost:8000``; a path is put before each route.
        mix: Dialects with their weights, names of ``dialects.DIALECTS``; without it named rows alone.
        model: Its name; empty: the server's default model.
        rows: Rows of the model's columns, or a file of them (``rows.read_rows``); without them, the model's examples
            and rows drawn from its schema.
        n_rows: How many rows are drawn.
        rows_per_request: Rows in each request.
        headers: Sent with each request, and as metadata of each gRPC call.
        grpc_address: ``HOST:PORT`` for gRPC; empty: the host of ``url``, port 8001.
        tls_ca: Certificates, PEM, that may sign the server's; without it the system's.
        seed: Of the drawn rows.

    Raises:
        LoadTestError: The server does not answer, refuses a request, or is no Orris; the rows are malformed.
        SettingsError: The URL or the mix is malformed.
    """
    chosen = dict(mix or {"native": 1.0})
    check_mix(chosen)
    host, _ = place_of(url)
    tls = _context(tls_ca) if urlsplit(url).scheme == "https" else None
    sent = dict(headers or {})
    card = ask_card(url, model, sent, tls)
    if isinstance(rows, Path):
        found = read_rows(rows, card.columns)
    else:
        found = drawn_rows(card, n_rows, seed) if rows is None else list(rows)
    if not found:
        raise LoadTestError("there are no rows to send")
    bodies = {name: _bodies(name, card, found, rows_per_request, named=bool(model)) for name in chosen}
    metadata = tuple((name.lower(), value) for name, value in sent.items())
    target = Target(
        url,
        tuple(_route(url, name, weight, bodies[name], sent) for name, weight in chosen.items()),
        grpc_address or f"{host}:{GRPC_PORT}",
        metadata,
        f"{card.name}@{card.version}",
        tls,
        tls_ca,
    )
    for name in chosen:
        _try(target, name, bodies[name][0], sent)
    return target


def check_mix(mix: Mapping[str, float]) -> None:
    """Refuse an unknown dialect and a weight that is not positive.

    Raises:
        SettingsError: Says which.
    """
    for name, weight in mix.items():
        if name not in DIALECTS:
            raise SettingsError(f"there is no protocol '{name}'; there are {', '.join(DIALECTS)}")
        if not 0 < weight < float("inf"):
            raise SettingsError(f"'{name}' has the weight {weight:g}; a weight is above 0")


def ask_card(url: str, model: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None) -> Card:
    """The card of a server's model.

    Raises:
        LoadTestError: The server does not answer, refuses the credentials, has no such model, or is no Orris.
    """
    path = f"/api/v1/models/{quote(model, safe='')}/card" if model else CARD
    status, content = _exchange(url, "GET", path, b"", headers, tls)
    if status in {401, 403}:
        raise LoadTestError(f"{url} answers {status} to {path}: {_shown(content)}")
    if status != 200:
        raise LoadTestError(
            f"{url} answers {status} to {path}: {_shown(content) or 'nothing'}"
            + ("" if model else "; a server that has no model card takes  --body FILE --path ROUTE")
        )
    try:
        return msgspec.json.decode(content, type=Card)
    except msgspec.MsgspecError as error:
        raise LoadTestError(f"{url}{path} holds no model card: {error}") from None


def _bodies(name: str, card: Card, rows: Sequence[Row], rows_per_request: int, *, named: bool) -> list[Body]:
    model = Model(card.name, card.columns, named)
    n_bodies = max(1, len(rows) // rows_per_request)
    return [
        DIALECTS[name](model, [rows[(first * rows_per_request + i) % len(rows)] for i in range(rows_per_request)])
        for first in range(n_bodies)
    ]


def _route(url: str, name: str, weight: float, bodies: Sequence[Body], headers: Mapping[str, str]) -> Route:
    if name == "grpc":
        return Route(name, weight, tuple(body.content for body in bodies), GRPC_METHOD)
    contents = tuple(http_request(url, body.path, body.content, {**headers, **body.headers}) for body in bodies)
    return Route(name, weight, contents)


def _try(target: Target, name: str, body: Body, headers: Mapping[str, str]) -> None:
    """Send one request, so that a test of nothing but refusals ends before it begins."""
    if name == "grpc":
        _try_grpc(target, body)
        return
    status, content = _exchange(target.url, "POST", body.path, body.content, {**headers, **body.headers}, target.tls)
    if not 200 <= status < 300:
        raise LoadTestError(f"{target.url} answers {status} to the first request ({name}): {_shown(content)}")
    if not content:
        raise LoadTestError(f"{target.url} answers the first request ({name}) with nothing")


def _try_grpc(target: Target, body: Body) -> None:
    try:
        import grpc  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError("load", "a load test over gRPC") from error
    channel: Any = (
        grpc.insecure_channel(target.grpc_address)
        if target.context is None
        else grpc.secure_channel(target.grpc_address, target.grpc_credentials())
    )
    with channel:
        try:
            call = channel.unary_unary(GRPC_METHOD)
            call(body.content, timeout=ASK_SECONDS, metadata=target.grpc_metadata)
        except grpc.RpcError as error:
            code: Any = error
            hint = "; --grpc HOST:PORT names another address" if code.code().name == "UNAVAILABLE" else ""
            raise LoadTestError(
                f"{target.grpc_address} answers {code.code().name} to the first gRPC call: {code.details()}{hint}"
            ) from None


def _exchange(
    url: str, method: str, path: str, body: bytes, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> tuple[int, bytes]:
    host, port = place_of(url)
    secure = urlsplit(url).scheme == "https"
    connection = (
        HTTPSConnection(host, port, timeout=ASK_SECONDS, context=tls)
        if secure
        else HTTPConnection(host, port, timeout=ASK_SECONDS)
    )
    try:
        connection.request(method, urlsplit(url).path.rstrip("/") + path, body or None, dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, HTTPException) as error:
        problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise LoadTestError(f"{url} does not answer: {problem}; is it running there?") from None
    finally:
        connection.close()


def _shown(content: bytes) -> str:
    """The detail of an error document, or the beginning of whatever it is."""
    try:
        document = msgspec.json.decode(content)
    except msgspec.MsgspecError:
        document = None
    if isinstance(document, dict):
        for key in ("detail", "error", "title"):
            if isinstance(document.get(key), str):
                return str(document[key])
    return " ".join(content.decode("utf-8", "replace").split())[:_SHOWN]


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise LoadTestError(f"{ca}: no certificates in PEM: {error}") from None
