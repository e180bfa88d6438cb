"""How rows are written in each protocol that a load test speaks.

The V2 forms are the Open Inference Protocol's (https://github.com/kserve/open-inference-protocol): a tensor per column;
the binary form is Triton's binary tensor data extension, and the gRPC form has raw contents, as Triton's client sends
them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from orris.errors import SettingsError
from orris.loadtest.rows import Column, Row

GRPC_METHOD = "/inference.GRPCInferenceService/ModelInfer"


class Body(NamedTuple):
    """A request of some dialect.

    Attributes:
        path: Of the route; empty: a message of gRPC.
        content: The body, or the message.
        headers: That the dialect needs.
    """

    path: str
    content: bytes
    headers: Mapping[str, str]


class Model(NamedTuple):
    """The facts about the model that a dialect needs.

    Attributes:
        name: In the routes.
        columns: In the model's order.
        named: Whether the user named the model, so that routes which name none are those of another.
    """

    name: str
    columns: Sequence[Column]
    named: bool = False

    @property
    def predict(self) -> str:
        """The route for named rows."""
        return f"/api/v1/models/{self.name}/predict" if self.named else "/api/v1/predict"


def native(model: Model, rows: Sequence[Row]) -> Body:
    """Rows by the names of columns: one object, or a list of them."""
    return _json(model.predict, rows[0] if len(rows) == 1 else list(rows))


def features(model: Model, rows: Sequence[Row]) -> Body:
    """One row without names, in the model's order."""
    if len(rows) != 1:
        raise SettingsError("'features' has one row in each request; 'instances' has any number")
    return _json(model.predict, {"features": _values(model, rows[0])})


def instances(model: Model, rows: Sequence[Row]) -> Body:
    """Rows without names, on the predict route."""
    return _json(model.predict, {"instances": [_values(model, row) for row in rows]})


def v1(model: Model, rows: Sequence[Row]) -> Body:
    """KServe V1."""
    return _json(f"/v1/models/{model.name}:predict", {"instances": [_values(model, row) for row in rows]})


def v2(model: Model, rows: Sequence[Row]) -> Body:
    """Open Inference Protocol V2 as JSON."""
    inputs = [
        {
            "name": column.name,
            "datatype": _datatype(column),
            "shape": [len(rows), 1],
            "data": [row.get(column.name) for row in rows],
        }
        for column in model.columns
    ]
    return _json(f"/v2/models/{model.name}/infer", {"inputs": inputs})


def v2_binary(model: Model, rows: Sequence[Row]) -> Body:
    """Open Inference Protocol V2 with binary tensors, inputs and outputs."""
    inputs, tensors = [], []
    for column in model.columns:
        datatype, raw = _tensor(column, rows)
        tensors.append(raw)
        inputs.append(
            {
                "name": column.name,
                "datatype": datatype,
                "shape": [len(rows), 1],
                "parameters": {"binary_data_size": len(raw)},
            }
        )
    head = msgspec.json.encode({"inputs": inputs, "parameters": {"binary_data_output": True}})
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Body(f"/v2/models/{model.name}/infer", b"".join([head, *tensors]), headers)


def grpc(model: Model, rows: Sequence[Row]) -> Body:
    """Open Inference Protocol V2 over gRPC, with raw contents."""
    from orris.protocols.grpc.generated import open_inference_pb2  # noqa: PLC0415 (protobuf, for gRPC only)

    message = open_inference_pb2.ModelInferRequest(model_name=model.name)
    for column in model.columns:
        datatype, raw = _tensor(column, rows)
        message.inputs.add(name=column.name, datatype=datatype, shape=[len(rows), 1])
        message.raw_input_contents.append(raw)
    return Body("", message.SerializeToString(), {})


DIALECTS: dict[str, Callable[[Model, Sequence[Row]], Body]] = {
    "native": native,
    "features": features,
    "instances": instances,
    "v1": v1,
    "v2": v2,
    "v2-binary": v2_binary,
    "grpc": grpc,
}
"""By the name that a mix gives them."""


def _json(path: str, value: Any) -> Body:
    return Body(path, msgspec.json.encode(value), {"content-type": "application/json"})


def _values(model: Model, row: Row) -> list[Any]:
    return [row.get(column.name) for column in model.columns]


def _datatype(column: Column) -> str:
    """The datatype that loses nothing of the column's values."""
    if column.kind == "category":
        return "BYTES" if not column.levels or isinstance(column.levels[0], str) else "INT64"
    return {"number": "FP64", "integer": "INT64", "boolean": "BOOL"}[column.kind]


def _tensor(column: Column, rows: Sequence[Row]) -> tuple[str, bytes]:
    """Datatype and little-endian bytes; a missing number of any kind is NaN in FP64, a missing text is empty."""
    values = [row.get(column.name) for row in rows]
    datatype = _datatype(column)
    if datatype == "BYTES":
        texts = [b"" if value is None else str(value).encode() for value in values]
        return datatype, b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "FP64" or None in values:
        return "FP64", np.array([np.nan if value is None else value for value in values], "<f8").tobytes()
    return datatype, np.array(values, "<i8" if datatype == "INT64" else "?").tobytes()
