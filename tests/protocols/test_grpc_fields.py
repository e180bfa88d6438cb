"""Tests of the count of a message's fields before protobuf reads it: few bytes become no great number of objects."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orris.api import Bundle
from orris.errors import BodyError, OrrisError, TooLargeError
from orris.protocols.grpc import dialect as dialect_module
from orris.protocols.grpc.dialect import Tensors
from orris.protocols.grpc.fields import MAX_FIELDS, UNCOUNTED_BYTES, FieldCounter, fields, named
from orris.protocols.grpc.generated.envelope_pb2 import Envelope
from orris.protocols.grpc.generated.open_inference_pb2 import ModelInferRequest
from orris.serving.engine import Engine

N = 2_000_000
"""Entries of a hostile message."""


def field(number: int, content: bytes) -> bytes:
    """A field with a length."""
    n_bytes, length = len(content), bytearray()
    while n_bytes >= 0x80:
        length.append(n_bytes & 0x7F | 0x80)
        n_bytes >>= 7
    return bytes((number << 3 | 2, *length, n_bytes)) + content


def contents(content: bytes) -> bytes:
    """An input with these contents."""
    return field(5, field(5, content))


HOSTILE: dict[str, bytes] = {
    "inputs": field(5, b"") * N,
    "outputs": field(6, b"") * N,
    "raw contents": field(7, b"") * N,
    "parameters": field(4, b"") * N,
    "names": field(1, b"") * N,
    "unknown fields": field(15, b"") * N,
    "parameters of an input": field(5, field(4, b"") * N),
    "parameters of an output": field(6, field(2, b"") * N),
    "values of a parameter": field(4, field(2, field(3, b"x") * N)),
    "a long shape": field(5, field(3, b"\1" * N)),
    "a long shape, not packed": field(5, b"\x18\1" * N),
    "contents of an input": field(5, field(5, b"") * N),
    "small integers": contents(field(3, b"\1" * N)),
    "small integers in pieces": contents(field(5, b"\1" * 1000) * (N // 1000)),
    "integers that are not packed": contents(b"\x18\1" * N),
    "flags that are not packed": contents(b"\x08\1" * N),
    "texts": contents(field(8, b"") * N),
    "texts in many inputs": contents(field(8, b"") * 1000) * (N // 1000),
}


@pytest.fixture(scope="module")
def engine(iris: Bundle) -> Engine:
    """The iris model, which takes at most 20,000 rows."""
    return Engine.load(iris.folder, max_rows=20_000)


@pytest.mark.parametrize("case", list(HOSTILE))
def test_a_message_of_millions_of_parts_is_refused_before_protobuf_reads_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Two million empty or tiny parts are too large, and protobuf, which would make objects of them, is not called."""
    seen: list[bytes] = []

    monkeypatch.setattr(dialect_module, "ModelInferRequest", SimpleNamespace(FromString=seen.append))
    with pytest.raises(TooLargeError):
        Tensors().read(engine, field(1, b"iris") + HOSTILE[case], {})
    assert not seen


@pytest.mark.parametrize("case", ["inputs", "outputs", "raw contents", "parameters", "names", "unknown fields"])
def test_the_name_of_a_model_is_looked_for_in_a_limited_number_of_fields(case: str) -> None:
    """The search on the event loop ends at the limit of fields."""
    with pytest.raises(TooLargeError, match=f"more than {MAX_FIELDS} fields"):
        named(HOSTILE[case])


def test_counting_ends_at_the_limit() -> None:
    """Nothing behind the first field or element over a limit is counted."""
    for case, content in HOSTILE.items():
        counter = FieldCounter(1_000, 5_000)
        with pytest.raises(TooLargeError):
            counter.count(content, 0, len(content), "request")
        assert counter.n_fields <= 1_001, case
        packed = case in {"a long shape", "small integers"}
        assert packed or counter.n_elements <= 6_000, case


def request(names: list[str], values: list[int], *, raw: bool) -> ModelInferRequest:
    """A request with every kind of field."""
    asked = ModelInferRequest(model_name=names[0], model_version=names[-1], id="x")
    asked.parameters["a"].string_param = "b" * len(values)
    for name in names:
        tensor = asked.inputs.add(name=name, datatype="INT64", shape=[len(values), 1])
        tensor.parameters["content_type"].string_param = "np"
        if raw:
            asked.raw_input_contents.append(np.array(values, "<i8").tobytes())
        else:
            tensor.contents.int64_contents.extend(values)
            tensor.contents.bytes_contents.extend(name.encode() for _ in values)
            tensor.contents.fp64_contents.extend(map(float, values))
        asked.outputs.add(name=name).parameters["b"].bool_param = True
    return asked


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    st.booleans(),
)
def test_fields_are_counted_as_protobuf_reads_them(names: list[str], values: list[int], raw: bool) -> None:
    """The elements that are counted are those that protobuf finds, and a long message names the model as it says."""
    asked = request(names, values, raw=raw)
    body = asked.SerializeToString()
    counter = FieldCounter(MAX_FIELDS, MAX_FIELDS)
    counter.count(body, 0, len(body), "request")
    shapes = sum(len(tensor.shape) for tensor in asked.inputs)
    found = sum(len(part.contents.int64_contents) + len(part.contents.bytes_contents) for part in asked.inputs) + sum(
        bool(values) * 2 for part in asked.inputs if part.HasField("contents")
    )
    assert counter.n_elements == shapes + found
    long = body + field(15, bytes(UNCOUNTED_BYTES))
    assert Envelope.FromString(named(long)).model_name == Envelope.FromString(body).model_name == names[0]
    assert Envelope.FromString(named(long)).model_version == names[-1]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_broken(body: bytes) -> None:
    """Any bytes are fields from end to end, or no message."""
    try:
        found = list(fields(body, 0, len(body)))
    except BodyError:
        return
    assert [at for _, _, at, _, _ in found] == [0, *[stop for *_, stop in found[:-1]]][: len(found)]
    assert not found or found[-1][-1] == len(body)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_as_many_rows_as_the_model_takes_are_read(engine: Engine, raw: bool, together: bool) -> None:
    """The greatest number of rows is read, raw or typed, in one tensor or one per column; one row more is refused."""
    for n_rows in (20_000, 20_001):
        values = np.random.default_rng(1).uniform(0.1, 7, (n_rows, 4))
        parts = {"rows": values} if together else {name: values[:, [j]] for j, name in enumerate(engine.schema.names)}
        asked = ModelInferRequest(model_name="iris")
        for name, part in parts.items():
            tensor = asked.inputs.add(name=name, datatype="FP64", shape=part.shape)
            if raw:
                asked.raw_input_contents.append(part.tobytes())
            else:
                tensor.contents.fp64_contents.extend(part.ravel().tolist())
        body = asked.SerializeToString()
        if n_rows == 20_000:
            assert np.array_equal(Tensors().read(engine, body, {}).rows, values)
        else:
            with pytest.raises(OrrisError, match="20001 rows are more than the 20000"):
                Tensors().read(engine, body, {})
