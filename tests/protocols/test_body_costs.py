"""Tests of what a long body costs, whatever it holds: memory beside its own length, and no second look at a byte."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from orris.api import Bundle
from orris.errors import OrrisError
from orris.protocols.envelopes import without_nan
from orris.protocols.instances import InstanceRows
from orris.protocols.invocations import Invocations
from orris.protocols.named import NamedRows
from orris.protocols.openinference import OpenInference
from orris.serving.content_encoding import plain_body
from orris.serving.engine import Engine
from orris.serving.exchange import Dialect

N_BYTES = 8_000_000
ROW = b'{"sepal_length":5.1,"sepal_width":3.5,"petal_length":1.4,"petal_width":0.2}'
VALUES = b"[5.1,3.5,1.4,0.2]"
INPUT = b'{"name":"x","shape":[1],"datatype":"FP64","data":[1]}'
CSV = {b"content-type": b"text/csv"}
NAMES = b"sepal_length,sepal_width,petal_length,petal_width\n"


def filled(begin: bytes, part: bytes, end: bytes, between: bytes = b",") -> bytes:
    """``begin``, as many ``part`` as there is room for, ``end``."""
    return begin + between.join([part] * ((N_BYTES - len(begin)) // len(part + between))) + end


@pytest.fixture(scope="module")
def engine(iris: Bundle) -> Engine:
    """The iris model, which takes at most 20,000 rows."""
    return Engine.load(iris.folder, max_rows=20_000)


BODIES: dict[str, tuple[Callable[[], Dialect], bytes, dict[bytes, bytes]]] = {
    "named: rows": (NamedRows, filled(b"[", ROW, b"]"), {}),
    "named: empty objects": (NamedRows, filled(b"[", b"{}", b"]"), {}),
    "named: many keys": (NamedRows, filled(ROW[:-1] + b",", b'"x":1', b"}"), {}),
    "features: numbers": (NamedRows, filled(b'{"features":[', b"1", b"]}"), {}),
    "instances: rows": (InstanceRows, filled(b'{"instances":[', VALUES, b"]}"), {}),
    "instances: parameters": (InstanceRows, filled(b'{"instances":[],"parameters":[', b"[]", b"]}"), {}),
    "CSV: rows": (NamedRows, filled(NAMES, b"5.1,3.5,1.4,0.2", b"", b"\n"), CSV),
    "CSV: commas": (NamedRows, filled(NAMES, b",", b"", b""), CSV),
    "CSV: commas for names": (NamedRows, filled(b"", b",", b"", b""), CSV),
    "CSV: quoted commas": (NamedRows, filled(NAMES, b'","', b"", b""), CSV),
    "CSV: quoted line breaks": (NamedRows, filled(NAMES, b'"\n",', b"", b""), CSV),
    "CSV: line breaks": (NamedRows, filled(NAMES, b"\n", b"", b""), CSV),
    "V2: numbers": (
        OpenInference,
        filled(b'{"inputs":[{"name":"x","shape":[9,4],"datatype":"FP64","data":[', b"1", b"]}]}"),
        {},
    ),
    "V2: a long shape": (
        OpenInference,
        filled(b'{"inputs":[{"name":"x","datatype":"FP64","shape":[', b"1", b"]}]}"),
        {},
    ),
    "V2: many inputs": (OpenInference, filled(b'{"inputs":[', INPUT, b"]}"), {}),
    "V2: empty inputs": (OpenInference, filled(b'{"inputs":[', b"{}", b"]}"), {}),
    "V2: many outputs": (OpenInference, filled(b'{"inputs":[],"outputs":[', b'{"name":"x"}', b"]}"), {}),
    "V2: a long parameter": (
        OpenInference,
        filled(
            b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","parameters":{"shared_memory_region":[',
            b"[]",
            b"]}}]}",
        ),
        {},
    ),
    "V2: NaN": (
        OpenInference,
        filled(b'{"inputs":[{"name":"x","shape":[9,4],"datatype":"FP64","data":[', b"NaN", b"]}]}"),
        {},
    ),
    "V2: escapes behind NaN": (OpenInference, filled(b'{"inputs":[NaN,"', b'\\"', b"", b""), {}),
    "MLflow: rows": (Invocations, filled(b'{"dataframe_split":{"data":[', VALUES, b"]}}"), {}),
    "MLflow: names": (Invocations, filled(b'{"dataframe_split":{"columns":[', b'""', b'],"data":[]}}'), {}),
    "MLflow: NaN": (Invocations, filled(b'{"instances":[[', b"NaN", b"]]}"), {}),
    "MLflow: escapes behind NaN": (Invocations, filled(b'{"instances":[[NaN,"', b'\\"', b"", b""), {}),
    "SageMaker: JSON lines": (
        Invocations,
        filled(b"", VALUES, b"", b"\n"),
        {b"content-type": b"application/jsonlines"},
    ),
}


@pytest.mark.parametrize("case", list(BODIES))
def test_a_long_body_takes_little_memory_beside_its_own(engine: Engine, case: str) -> None:
    """A body of 8 MB that holds too much is refused, and reading it takes less than three times its length."""
    make, body, headers = BODIES[case]
    dialect = make()
    tracemalloc.start()
    try:
        with pytest.raises(OrrisError):
            dialect.read(engine, body, {b"content-type": b"application/json", **headers})
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 3 * len(body)


def test_a_compressed_body_takes_little_memory_beside_the_limit() -> None:
    """Inflating stops at the limit, and takes less than twice its memory."""
    body = zlib.compress(b" " * (16 * N_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(OrrisError):
            plain_body(body, {b"content-encoding": b"deflate"}, N_BYTES)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 2 * N_BYTES


@pytest.mark.parametrize(
    "text",
    [b'"' + b'\\"' * N_BYTES, b'"' + b'\\"' * N_BYTES + b"\\", b'"' + b"\\" * N_BYTES + b'"', b'"' * N_BYTES],
    ids=["escapes", "escapes and a backslash", "backslashes", "quotation marks"],
)
def test_a_text_without_an_end_is_read_once(text: bytes) -> None:
    """Where ``NaN`` stands before a text that nothing closes, each byte of the text is looked at once.

    A reader that begins anew at every quotation mark would take days for these.
    """
    assert without_nan(b"[NaN," + text).startswith(b"[null,")


@pytest.mark.parametrize(
    "body",
    [
        b'[NaN,"NaN",NaN]',
        b'["\\"NaN",NaN,"\\\\",NaN]',
        b'["a\\nNaN\\\\\\"NaN", NaN]',
        b'[NaN, "not closed NaN',
        b'{"a":NaN,"NaN":1}',
    ],
)
def test_nan_is_replaced_outside_texts_only(body: bytes) -> None:
    """``NaN`` becomes ``null`` where it is a value, and stays where it is text."""
    found = without_nan(body)
    if found.endswith(b"NaN"):
        assert found == b'[null, "not closed NaN'
    else:
        assert json.loads(found) == json.loads(body, parse_constant=lambda _: None)


def test_a_long_request_of_v2_is_read_as_its_parts_say(engine: Engine) -> None:
    """A long request keeps its id, parameters and outputs, and takes one tensor per column."""
    values = np.linspace(0.1, 7.0, 4 * 15_000).round(3).reshape(-1, 4)
    columns = engine.schema.names
    inputs = [
        {"name": name, "shape": [len(values), 1], "datatype": "FP64", "data": values[:, j].tolist()}
        for j, name in enumerate(columns)
    ]
    request = {"id": "long", "outputs": [{"name": "predict"}], "inputs": inputs, "unknown": [[]]}
    body = json.dumps(request).encode()
    assert len(body) > 256 * 1024
    query = OpenInference().read(engine, body, {b"content-type": b"application/json"})
    assert np.array_equal(query.rows, values)
    assert (query.context.id, query.context.outputs) == ("long", ("predict",))
    matrix = {"inputs": [{"name": "x", "shape": [15_000, 4], "datatype": "FP64", "data": values.tolist()}]}
    again = OpenInference().read(engine, json.dumps(matrix).encode(), {b"content-type": b"application/json"})
    assert np.array_equal(again.rows, values)


def test_a_binary_tensor_needs_no_json_of_its_own_length(engine: Engine) -> None:
    """More rows than the limit are refused by their shape, before the tensor is read."""
    head = b'{"inputs":[{"name":"x","shape":[100000,4],"datatype":"FP64","parameters":{"binary_data_size":3200000}}]}'
    body = head + struct.pack("<d", 5.1) * 400_000
    headers = {b"content-type": b"application/octet-stream", b"inference-header-content-length": b"%d" % len(head)}
    with pytest.raises(OrrisError, match="100000 rows are more than the 20000"):
        OpenInference().read(engine, body, headers)
