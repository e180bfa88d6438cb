"""Tests of the codec of ``ModelInfer``: it reads and writes what the dialect does."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from orris.api import Bundle
from orris.errors import OrrisError
from orris.protocols.grpc.codec import RowMessageCodec
from orris.protocols.grpc.dialect import Tensors
from orris.serving.engine import Engine

ROW = [5.1, 3.5, 1.4, 0.2]


@pytest.fixture(scope="module")
def engine(iris: Bundle) -> Engine:
    """The iris model."""
    return Engine.load(iris.folder)


@pytest.fixture(scope="module")
def codecs(engine: Engine) -> tuple[RowMessageCodec, ...]:
    """Its codecs: raw and typed."""
    return Tensors().codecs(engine)


def body(row: list[float], *, raw: bool, **more: str) -> bytes:
    """A request of one row."""
    asked = pb.ModelInferRequest(model_name="iris", **more)
    tensor = asked.inputs.add(name="rows", datatype="FP64", shape=[1, len(row)])
    if raw:
        asked.raw_input_contents.append(struct.pack(f"<{len(row)}d", *row))
    else:
        tensor.contents.fp64_contents.extend(row)
    content: bytes = asked.SerializeToString()
    return content


@pytest.mark.parametrize("raw", [True, False])
def test_rows_are_answered_byte_by_byte_as_by_the_dialect(
    engine: Engine, codecs: tuple[RowMessageCodec, ...], raw: bool
) -> None:
    """Codes and answers of rows that the codec takes equal the dialect's."""
    dialect, codec = Tensors(), codecs[0 if raw else 1]
    rows = np.random.default_rng(3).uniform(0.1, 8, (20, 4)).tolist()
    bodies = [body(row, raw=raw) for row in rows]
    codes, taken = codec.read(bodies)
    assert taken is None
    assert codes.tolist() == rows
    ids = [b"short", b"x" * 32, b"y" * 127, b"z" * 128, *[b"i%d" % i for i in range(16)]]
    answers = engine.run(codes)
    written = codec.write(answers, ids)
    for i, content in enumerate(bodies):
        query = dialect.read(engine, content, {})
        assert codec.query(codes[i : i + 1]).context == query.context
        reply = dialect.write(engine, query, answers.at(slice(i, i + 1)), ids[i].decode(), [])
        assert written[i] == reply.body


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    row=st.lists(st.floats(allow_nan=True, width=64), min_size=4, max_size=4),
    raw=st.booleans(),
    noise=st.binary(max_size=12),
    at=st.integers(0, 90),
    cut=st.integers(0, 12),
)
def test_what_a_codec_takes_the_dialect_reads_alike(
    engine: Engine, codecs: tuple[RowMessageCodec, ...], row: list[float], raw: bool, noise: bytes, at: int, cut: int
) -> None:
    """A message with some bytes exchanged is read by a codec as by the dialect, or left to it."""
    dialect = Tensors()
    true = body(row, raw=raw)
    for content in (true, true[:at] + noise + true[at + cut :]):
        for codec in codecs:
            codes, taken = codec.read([content, body(ROW, raw=codec is codecs[0])])
            if taken is None or 0 in taken:
                query = dialect.read(engine, content, {})
                assert codes[0].tolist() == query.rows[0].tolist()
                assert (len(query.rows), query.unknown) == (1, ())
                assert query.context == codec.query(codes[:1]).context


@pytest.mark.parametrize("raw", [True, False])
def test_a_row_that_is_not_plainly_right_is_the_dialect_s(
    engine: Engine, codecs: tuple[RowMessageCodec, ...], raw: bool
) -> None:
    """Rows out of bounds or missing, and requests with an id, are not taken; the dialect refuses or reads them."""
    codec = codecs[0 if raw else 1]
    bodies = [body(ROW, raw=raw), body([math.nan, *ROW[1:]], raw=raw), body([-1.0, *ROW[1:]], raw=raw)]
    bodies += [body(ROW, raw=raw, id="mine"), body(ROW[:3], raw=raw), body(ROW, raw=not raw), b""]
    _, taken = codec.read(bodies)
    assert taken == [0]
    for content in bodies[1:3]:
        with pytest.raises(OrrisError):
            Tensors().read(engine, content, {})


def test_models_with_other_columns_than_numbers_have_no_codec(mixed: Bundle) -> None:
    """Where a column is no number, the dialect reads each request."""
    assert Tensors().codecs(Engine.load(mixed.folder)) == ()
