"""Codecs read and write as their dialects do, and only what those would take."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture

import orris
from orris.api import Bundle
from orris.protocols.instances import InstanceRows
from orris.protocols.invocations import Invocations
from orris.protocols.named import NamedRows
from orris.protocols.openinference import OpenInference
from orris.serving.engine import Engine
from orris.serving.exchange import JSON, Dialect
from tests.serving.exchanges import BODY, Kept, predict_route

VALUES = b"[5.1,3.5,1.4,0.2]"
INSTANCES = b'{"instances":[%b]}' % VALUES
TENSOR = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,4],"data":%b}]}' % VALUES
HEADERS = {b"content-type": JSON}

USUAL: list[tuple[Dialect, bytes]] = [
    (NamedRows(), BODY),
    (NamedRows(with_class=True), BODY),
    (NamedRows(), INSTANCES),
    (NamedRows(), b'{"features":%b}' % VALUES),
    (NamedRows(with_class=True), b'{"features":%b}' % VALUES),
    (InstanceRows(), INSTANCES),
    (Invocations(), INSTANCES),
    (Invocations(), b'{"inputs":[%b]}' % VALUES),
    (OpenInference(), TENSOR),
]

NEVER = [
    b"",
    b"{",
    b"[]",
    b"7",
    b'{"instances":[]}',
    b'{"instances":[%b,%b]}' % (VALUES, VALUES),
    b'{"instances":[%b],"instances":[%b]}' % (VALUES, VALUES),
    b'{"features":%b,"features":%b}' % (VALUES, VALUES),
    b'{"instances":[[5.1]]}',
    b'{"instances":[[1e999,3.5,1.4,0.2]]}',
    BODY.replace(b"}", b', "sepal_length": 5.1}'),
    BODY.replace(b"5.1", b"-5.1"),
    INSTANCES[:-1] + b',"parameters":{"predict_method":"predict_proba"}}',
    TENSOR[:-1] + b',"id":"a"}',
]


@pytest.mark.parametrize(("dialect", "body"), USUAL)
@pytest.mark.parametrize("others", [0, 3])
def test_a_codec_reads_and_writes_as_its_dialect(iris: Bundle, dialect: Dialect, body: bytes, others: int) -> None:
    """Its query and its answer are the dialect's, byte for byte, also beside bodies that it does not take."""
    engine = Engine.load(iris.folder)
    expected = dialect.read(engine, body, HEADERS)
    for codec in dialect.codecs(engine):
        assert codec.takes(HEADERS)
        rows, taken = codec.read([*[b"{"] * others, body])
        if taken == []:
            continue
        assert taken == ([others] if others else None)
        assert rows.tolist() == expected.rows.tolist()
        query = codec.query(rows)
        assert (query.single, query.unknown) == (expected.single, expected.unknown)
        answers = engine.run(rows)
        written = dialect.write(engine, expected, answers, "r-1", [])
        assert codec.write(answers, [b"r-1"]) == [written.body]
        assert dialect.write(engine, query, answers, "r-1", []) == written
        return
    pytest.fail("no codec has taken the body")


@pytest.fixture(scope="module", params=["a detector", "a clusterer with probabilities"])
def scored(request: pytest.FixtureRequest) -> Engine:
    """An engine whose answers hold a score."""
    X, _ = load_iris(return_X_y=True, as_frame=True)
    X.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    detects = request.param == "a detector"
    model = IsolationForest(n_estimators=3, random_state=0) if detects else GaussianMixture(3, random_state=0)
    return Engine.load(orris.package(model.fit(X), X, name="scored", store=None).folder)


@pytest.mark.parametrize(("dialect", "body"), USUAL)
def test_a_codec_writes_scores_as_its_dialect(scored: Engine, dialect: Dialect, body: bytes) -> None:
    """Answers of detectors and clusterers are written by codecs too, byte for byte, several at once."""
    expected = dialect.read(scored, body, HEADERS)
    for codec in dialect.codecs(scored):
        rows, taken = codec.read([body, body])
        if taken == []:
            continue
        answers = scored.run(rows)
        assert answers.scores is not None
        first = answers.at(slice(1))
        written = [dialect.write(scored, expected, first, name, []).body for name in ("r-1", "r-2")]
        assert codec.write(answers, [b"r-1", b"r-2"]) == written
        return
    pytest.fail("no codec has taken the body")


@pytest.mark.parametrize("dialect", [NamedRows(), InstanceRows(), Invocations(), OpenInference()])
@pytest.mark.parametrize("body", NEVER)
def test_a_codec_leaves_unusual_bodies_to_the_dialect(iris: Bundle, dialect: Dialect, body: bytes) -> None:
    """Alone, and beside a body that it takes."""
    engine = Engine.load(iris.folder)
    for codec in dialect.codecs(engine):
        assert codec.read([body])[1] == []


def test_requests_of_all_forms_in_one_tick_are_answered_as_each_alone(iris: Bundle) -> None:
    """Forms that one route reads do not meet in an answer."""
    bodies = [body for dialect, body in USUAL if dialect == NamedRows()] + NEVER

    async def run() -> tuple[list[Any], list[Any]]:
        route = predict_route(iris)
        alone = []
        for body in bodies:
            exchange = Kept(body, {b"content-type": JSON, b"x-request-id": b"r"})
            route.enter(exchange)
            alone.append(await exchange.reply)
        together = [Kept(body, {b"content-type": JSON, b"x-request-id": b"r"}) for body in bodies * 3]
        for each in together:
            route.enter(each)
        return alone * 3, [await each.reply for each in together]

    alone, together = asyncio.run(run())
    assert [(reply.status, json.loads(reply.body)) for reply in together] == [
        (reply.status, json.loads(reply.body)) for reply in alone
    ]
