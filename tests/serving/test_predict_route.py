"""Tests of a predict route, which sends one reply to every exchange and counts it once."""

from __future__ import annotations

import asyncio
import json

import pytest

import orris
from orris.api import Bundle
from orris.errors import NotReadyError, UnauthorizedError
from orris.serving.batching import MAX_REQUESTS
from orris.serving.exchange import Headers
from orris.serving.predict_route import OFF_LOOP_BYTES, PredictRoute
from tests.serving.exchanges import BODY, ROUTE, ROW, Kept, predict_route


def statuses(route: PredictRoute) -> dict[int, int]:
    """Return the number of the route's requests by status."""
    return dict(route.context.metrics.route("POST", ROUTE).statuses)


def test_exchanges_of_one_tick_are_answered_as_the_model_answers(iris: Bundle) -> None:
    """Each of a hundred exchanges of one tick gets the answer to its own row."""
    rows = [ROW | {"petal_length": 1.0 + 0.05 * number} for number in range(100)]

    async def run() -> list[list[float]]:
        route = predict_route(iris)
        exchanges = [Kept(json.dumps(row).encode()) for row in rows]
        for exchange in exchanges:
            route.enter(exchange)
        found = [(await exchange.document())["probabilities"] for exchange in exchanges]
        assert statuses(route) == {200: 100}
        assert route.context.metrics.in_flight == 0
        return found

    assert asyncio.run(run()) == orris.load(iris).predict_proba(rows).tolist()


def test_a_tick_is_one_call_of_the_model_up_to_a_number_of_requests(iris: Bundle) -> None:
    """The requests of a tick share a call up to a bound, so the first of very many does not wait for the last."""

    async def run() -> None:
        route = predict_route(iris)
        route.context.max_in_flight = 10 * MAX_REQUESTS
        exchanges = [Kept() for _ in range(MAX_REQUESTS + 1)]
        for exchange in exchanges:
            route.take(exchange)
        await exchanges[0].reply
        assert not exchanges[-1].reply.done()
        await exchanges[-1].reply
        assert [count for count in route.context.metrics.models["iris", "1.0.0"].rows.counts if count] == [1, 1]

    asyncio.run(run())


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"sepal_length":1}', b"7"])
def test_a_bad_body_among_good_ones_is_refused_alone(iris: Bundle, body: bytes) -> None:
    """The exchanges before and behind a bad one in the same tick are answered."""

    async def run() -> None:
        route = predict_route(iris)
        exchanges = [Kept(), Kept(body), Kept()]
        for exchange in exchanges:
            route.enter(exchange)
        replies = [await exchange.reply for exchange in exchanges]
        assert [reply.status < 400 for reply in replies] == [True, False, True]
        assert route.context.metrics.in_flight == 0
        assert sum(route.context.metrics.rejected.values()) == 1

    asyncio.run(run())


def test_a_long_body_is_answered_off_the_loop(iris: Bundle) -> None:
    """A list of rows beyond the limit of bytes is answered in order, and counted once."""
    n_rows = 2 * OFF_LOOP_BYTES // len(BODY)

    async def run() -> None:
        route = predict_route(iris)
        exchange = Kept(json.dumps([ROW] * n_rows).encode())
        route.enter(exchange)
        assert not exchange.reply.done()
        document = await exchange.document()
        assert [answer["prediction_label"] for answer in document["predictions"]] == ["setosa"] * n_rows
        assert statuses(route) == {200: 1}
        assert route.context.metrics.in_flight == 0

    asyncio.run(run())


def test_a_refused_exchange_is_in_flight_only_while_it_is_refused(iris: Bundle) -> None:
    """``refuse`` counts the request in and out again by itself."""

    async def run() -> None:
        route = predict_route(iris)
        exchange = Kept()
        route.refuse(exchange, NotReadyError("the server is stopping"))
        assert (await exchange.reply).status == 503
        assert route.context.metrics.in_flight == 0
        assert route.context.metrics.rejected == {"not_ready": 1}

    asyncio.run(run())


def test_a_request_without_credential_is_not_read(iris: Bundle) -> None:
    """A request without a credential gets 401, whatever its body is."""

    def admit(headers: Headers) -> None:
        if b"x-api-key" not in headers:
            raise UnauthorizedError("no credential was sent")

    async def run() -> None:
        route = predict_route(iris, admit=admit)
        without, with_one = Kept(b"{"), Kept(headers={b"x-api-key": b"secret"})
        for exchange in (without, with_one):
            route.enter(exchange)
        assert (await without.reply).status == 401
        assert (await with_one.reply).status == 200

    asyncio.run(run())


def test_more_than_may_be_in_flight_is_refused_at_once(iris: Bundle) -> None:
    """A request over the limit of requests in flight is refused without waiting for them."""

    async def run() -> None:
        route = predict_route(iris, max_in_flight=2)
        exchanges = [Kept() for _ in range(3)]
        for exchange in exchanges:
            route.enter(exchange)
        assert exchanges[2].reply.done()
        assert [(await exchange.reply).status for exchange in exchanges] == [200, 200, 503]

    asyncio.run(run())


def test_an_answer_after_the_deadline_is_a_refusal(iris: Bundle) -> None:
    """A request whose answer comes after the deadline is refused, because its client has given up."""

    async def run() -> None:
        route = predict_route(iris, deadline_seconds=0.0)
        exchange = Kept()
        route.enter(exchange)
        assert (await exchange.reply).status == 503
        assert route.context.metrics.rejected == {"overloaded": 1}

    asyncio.run(run())


@pytest.mark.parametrize("fails", ["codecs", "read"])
def test_a_codec_that_fails_leaves_the_requests_to_its_dialect(
    iris: Bundle, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a dialect gives no codecs, or a codec cannot read, the dialect reads and every exchange is answered."""

    def failing(*_: object) -> None:
        raise RuntimeError("a fault of the codec")

    async def run() -> None:
        route = predict_route(iris)
        if fails == "codecs":
            monkeypatch.setattr(type(route.dialect), "codecs", failing)
        else:
            monkeypatch.setattr("orris.protocols.codecs.NamedCodec.read", failing)
        exchanges = [Kept() for _ in range(3)]
        for exchange in exchanges:
            route.enter(exchange)
        assert [(await exchange.reply).status for exchange in exchanges] == [200] * 3
        assert route.context.metrics.in_flight == 0

    asyncio.run(run())
