"""Tests of compressed bodies: read by every dialect, inflated no further than the limit."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from orris.errors import BodyError, TooLargeError
from orris.serving.content_encoding import MAX_MEMBERS, plain_body

ROW = [5.1, 3.5, 1.4, 0.2]
TENSOR = {"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": ROW}
BODIES: dict[str, Any] = {
    "/predict": {"features": ROW},
    "/v1/models/iris:predict": {"instances": [ROW]},
    "/v2/models/iris/infer": {"inputs": [TENSOR]},
    "/invocations": {"inputs": [ROW]},
}


def raw_deflate(body: bytes) -> bytes:
    """Deflate without zlib's header, as some clients send it."""
    compressing = zlib.compressobj(wbits=-15)
    return compressing.compress(body) + compressing.flush()


ENCODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "two members of gzip": ("gzip", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without a header": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


@pytest.mark.parametrize("route", list(BODIES))
@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_compressed_bodies_are_read_on_every_dialect(ask: httpx.Client, route: str, encoding: str) -> None:
    """A compressed body gets the answer of the same body uncompressed."""
    name, compress = ENCODINGS[encoding]
    body = json.dumps(BODIES[route]).encode()
    headers = {"content-type": "application/json", "x-request-id": "same"}
    plain = ask.post(route, content=body, headers=headers)
    answer = ask.post(route, content=compress(body), headers=headers | {"content-encoding": name})
    assert (plain.status_code, answer.status_code) == (200, 200)
    assert answer.json() == plain.json()


@pytest.mark.parametrize("route", list(BODIES))
def test_other_encodings_are_415(ask: httpx.Client, route: str) -> None:
    """An unsupported encoding gets 415 with the supported ones, in the protocol's error shape."""
    headers = {"content-type": "application/json", "content-encoding": "br"}
    refused = ask.post(route, content=b"{}", headers=headers)
    assert refused.status_code == 415
    assert "Content-Encoding 'br' is not read here" in refused.text


def test_a_body_that_inflates_over_the_limit_is_413(ask: httpx.Client) -> None:
    """A body of 40 KB that inflates to 40 MB is refused."""
    bomb = gzip.compress(b" " * 40_000_000)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert ask.post("/predict", content=bomb, headers=headers).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}") + b"x", gzip.compress(b"") * (MAX_MEMBERS + 1)],
    ids=["empty", "plain", "cut off", "something behind it", "many members"],
)
def test_a_body_unlike_its_encoding_is_refused(body: bytes) -> None:
    """A body that is not in the declared encoding is the caller's mistake."""
    with pytest.raises(BodyError):
        plain_body(body, {b"content-encoding": b"gzip"}, 1_000)


def test_no_more_than_the_limit_is_inflated() -> None:
    """A body that inflates to exactly the limit is read, and a body over it by one byte is refused."""
    body = gzip.compress(b"x" * 1_000)
    assert plain_body(body, {b"content-encoding": b"GZIP"}, 1_000) == b"x" * 1_000
    with pytest.raises(TooLargeError):
        plain_body(body, {b"content-encoding": b"gzip"}, 999)
