"""The requests of a load test and their destination: prepared requests by route, with weights."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from orris.errors import LoadTestError, SettingsError

N_DRAWN = 10_000
"""Length of the order in which requests are drawn from the routes, which then repeats."""


@dataclass(frozen=True)
class Route:
    """One kind of request of a mix.

    Attributes:
        name: In the results.
        weight: How often, beside the other routes' weights; above 0.
        contents: The requests, drawn at random: whole HTTP requests, heads included, or gRPC messages.
        grpc_method: Such as ``/inference.GRPCInferenceService/ModelInfer``; empty: HTTP.
    """

    name: str
    weight: float
    contents: tuple[bytes, ...]
    grpc_method: str = ""


@dataclass(frozen=True)
class Target:
    """A server with the requests to send to it.

    Attributes:
        url: The server, ``http://…`` or ``https://…``.
        routes: The mix; at least one.
        grpc_address: ``HOST:PORT`` for the routes of gRPC.
        grpc_metadata: Sent with each gRPC call: keys in lower case.
        model: ``NAME@VERSION`` that the server named; empty if it was not asked.
        tls: Context of ``https``; ``None``: the system's certificates.
        tls_ca: Certificates, PEM, for gRPC; ``None``: those that gRPC trusts.
    """

    url: str
    routes: tuple[Route, ...]
    grpc_address: str = ""
    grpc_metadata: tuple[tuple[str, str], ...] = ()
    model: str = ""
    tls: ssl.SSLContext | None = None
    tls_ca: Path | None = None

    @property
    def place(self) -> tuple[str, int]:
        """Host and port of ``url``."""
        return place_of(self.url)

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context to connect with; ``None``: without TLS."""
        if urlsplit(self.url).scheme != "https":
            return None
        return self.tls or ssl.create_default_context()

    def as_json(self) -> bytes:
        """The target for another process, without its TLS context."""
        names = _Stored.__struct_fields__
        ca = None if self.tls_ca is None else str(self.tls_ca.absolute())
        return msgspec.json.encode({**{name: getattr(self, name) for name in names}, "tls_ca": ca})

    def grpc_credentials(self) -> Any:
        """The credentials of a secure gRPC channel."""
        import grpc  # noqa: PLC0415

        return grpc.ssl_channel_credentials(None if self.tls_ca is None else self.tls_ca.read_bytes())

    def drawn(self, seed: int = 0) -> list[tuple[int, bytes]]:
        """An order of requests by the routes' weights: positions of routes, and contents.

        The routes' shares are exact to one request; which is when is random.
        """
        generator = np.random.default_rng(seed)
        weights = np.array([route.weight for route in self.routes])
        ends = np.rint(np.cumsum(weights) / weights.sum() * N_DRAWN).astype(int)
        order = np.searchsorted(ends, generator.permutation(N_DRAWN), side="right")
        numbers = generator.integers(0, 2**31, N_DRAWN).tolist()
        return [
            (route, self.routes[route].contents[number % len(self.routes[route].contents)])
            for route, number in zip(order.tolist(), numbers, strict=True)
        ]


def target_from_json(content: bytes) -> Target:
    """The target that ``Target.as_json`` wrote."""
    fields = msgspec.json.decode(content, type=_Stored)
    ca = None if fields.tls_ca is None else Path(fields.tls_ca)
    return Target(fields.url, fields.routes, fields.grpc_address, fields.grpc_metadata, fields.model, tls_ca=ca)


class _Stored(msgspec.Struct):
    """A target without its TLS context."""

    url: str
    routes: tuple[Route, ...]
    grpc_address: str
    grpc_metadata: tuple[tuple[str, str], ...]
    model: str
    tls_ca: str | None


def place_of(url: str) -> tuple[str, int]:
    """Host and port of a server's URL.

    Raises:
        SettingsError: It is no ``http`` or ``https`` URL.
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise SettingsError(f"'{url}' is no server's URL; write  http://HOST:PORT")
    return parts.hostname, port or (443 if parts.scheme == "https" else 80)


def http_request(url: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST with its head, as it is sent; ``content-type`` is JSON unless the headers set it."""
    parts = urlsplit(url)
    fields = {"host": parts.netloc.rpartition("@")[2], "content-type": "application/json", "accept": "*/*"}
    fields |= {name.lower(): value for name, value in (headers or {}).items()}
    fields["content-length"] = str(len(body))
    lines = [f"POST {parts.path.rstrip('/')}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def target_of(
    url: str, bodies: Sequence[bytes], *, path: str = "/api/v1/predict", headers: Mapping[str, str] | None = None
) -> Target:
    """A target of one HTTP route with the given bodies; nothing is asked of the server.

    Raises:
        LoadTestError: There are no bodies.
        SettingsError: The URL is none.
    """
    place_of(url)
    if not bodies:
        raise LoadTestError("a load test needs at least one request body")
    contents = tuple(http_request(url, path, body, headers) for body in bodies)
    return Target(url, (Route(path, 1.0, contents),))
