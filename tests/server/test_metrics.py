"""Tests of a real server's metrics: both formats, and series that no request can create."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import Server
from tests.waiting import PATIENCE_SECONDS

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

TEMPLATES = (
    "/{0}",
    "/predict/{0}",
    "/api/v1/{0}",
    "/api/v1/models/{0}/predict",
    "/api/v1/models/iris/versions/{0}/predict",
    "/v1/models/{0}:predict",
    "/v1/models/iris:{0}",
    "/v2/models/{0}/infer",
    "/v2/models/iris/versions/{0}/infer",
    "/v2/repository/models/{0}/load",
    "/docs/{0}",
    "/predict?{0}={0}",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")


def parsed(ask: httpx.Client, accept: str) -> list[Metric]:
    """Return the scrape as the parser of its format reads it."""
    answer = ask.get("/metrics", headers={"accept": accept})
    assert answer.status_code == 200
    if answer.headers["content-type"].startswith("application/openmetrics-text"):
        return list(openmetrics.text_string_to_metric_families(answer.text))  # type: ignore[no-untyped-call]
    assert answer.headers["content-type"].startswith("text/plain")
    return list(text_string_to_metric_families(answer.text))


def series(families: list[Metric]) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the name and labels of every sample."""
    return {(sample.name, tuple(sorted(sample.labels.items()))) for family in families for sample in family.samples}


@pytest.mark.parametrize("path", ["/metrics", "/api/v1/metrics"])
def test_the_format_is_negotiated(ask: httpx.Client, path: str) -> None:
    """A client that accepts OpenMetrics, as Prometheus does, gets it; all others get text."""
    prometheus = (
        f"{OPENMETRICS};q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    )
    assert (
        ask.get(path, headers={"accept": prometheus}).headers["content-type"].startswith("application/openmetrics-text")
    )
    assert ask.get(path, headers={"accept": OPENMETRICS}).text.endswith("# EOF\n")
    for accept in ("*/*", "text/plain", "text/html"):
        assert ask.get(path, headers={"accept": accept}).headers["content-type"].startswith("text/plain")


def test_both_formats_hold_the_same_series(ask: httpx.Client) -> None:
    """Text and OpenMetrics hold the same series, each as read by the parser of its format."""
    ask.post("/predict", json=ROW)
    for accept in ("text/plain", OPENMETRICS):
        ask.get("/metrics", headers={"accept": accept})
    text, open_metrics = (series(parsed(ask, accept)) for accept in ("text/plain", OPENMETRICS))
    assert ("orris_predictions_total", (("label", "setosa"), ("model", "iris"), ("version", "1.0.0"))) in text
    assert text == open_metrics


def hostile(rng: random.Random, n_rounds: int) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Return requests with made-up paths, methods, headers, columns and values, one of every kind for each round."""
    for _ in range(n_rounds):
        word = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789_-.~%22", k=rng.randint(3, 40))).replace(
            "%", ""
        )
        headers = {
            "x-request-id": word,
            "traceparent": f"00-{rng.randbytes(16).hex()}-{rng.randbytes(8).hex()}-01",
            "user-agent": word,
        }
        for template in TEMPLATES:
            for method in (*METHODS, "".join(rng.choices("ABCDEFGH", k=5))):
                yield method, template.format(word), headers, b"{}"
        row = ", ".join(f'"{name}": {value}' for name, value in ROW.items())
        for body in (
            f'{{"{word}": 1}}',
            f'{{{row}, "{word}": "{word}"}}',
            f'{{"sepal_length": "{word}"}}',
            word,
            f'{{"instances": ["{word}"]}}',
        ):
            yield "POST", "/predict", headers, body.encode()
        yield "POST", "/invocations", headers | {"content-type": f"text/{word}"}, word.encode()
        yield "GET", "/metrics", headers | {"accept": word}, b""


def test_no_request_can_create_a_series(server: Server, ask: httpx.Client) -> None:
    """After one hostile request of each kind, fifteen different ones of each kind add no series."""
    assert ask.post("/predict", json=ROW).status_code == 200
    rng = random.Random(7)

    def attack(n_rounds: int) -> set[int]:
        statuses = set()
        for method, path, headers, body in hostile(rng, n_rounds):
            statuses.add(ask.request(method, path, headers=headers, content=body).status_code)
        for word in (b"BREW /pot HTTP/1.1", b"GET / HTTP/9.9", rng.randbytes(30)):
            with socket.create_connection(("127.0.0.1", server.port), PATIENCE_SECONDS) as raw:
                raw.sendall(word + b"\r\nhost: x\r\nconnection: close\r\n\r\n")
                raw.recv(1 << 16)
        return statuses

    seen = attack(2)
    before = series(parsed(ask, OPENMETRICS))
    seen |= attack(15)
    after = series(parsed(ask, OPENMETRICS))
    assert after - before == set()
    assert {400, 404, 405, 415, 422} <= seen
