"""Tests of the Open Inference Protocol V2 over gRPC, with Triton's client and with typed contents."""

from __future__ import annotations

import hashlib
import json
import math
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

import orris
from orris.api import Bundle
from tests.certificates import self_signed
from tests.example_tables import mixed_table
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, becomes, eventually

SERVICE = "inference.GRPCInferenceService"
ROW = [5.1, 3.5, 1.4, 0.2]
NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
FORBIDDEN = {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED}
ADMIN = "an-admin-token-of-some-length"


@pytest.fixture(scope="module")
def server(iris: Bundle, mixed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server of iris and the mixed model over HTTP and gRPC, with an administrator."""
    folder = tmp_path_factory.mktemp("grpc")
    (folder / "token").write_text(ADMIN)
    models = (str(iris.folder), str(mixed.folder), "--store", str(iris.folder.parents[2]))
    limits = {"ORRIS_MAX_BODY_BYTES": "1000000", "ORRIS_MAX_ROWS": "10000"}
    with serving(
        *models, "--grpc-port", "0", "--admin-token-file", str(folder / "token"), folder=folder, environ=limits
    ) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    """Open a channel to the server."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> Any:
    """Return a stub for plain calls."""
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def client_of_triton(server: Server) -> Iterator[triton.InferenceServerClient]:
    """Return Triton's own client."""
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as asking:
        yield asking


def tensor(name: str, datatype: str, values: Any) -> triton.InferInput:
    """Return an input of Triton's client."""
    array = np.array(values, dtype=triton_to_np_dtype(datatype) if datatype != "BYTES" else object)
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def request(
    values: list[float] = ROW, datatype: str = "FP64", field: str = "fp64_contents", **more: Any
) -> pb.ModelInferRequest:
    """Return a typed request of one iris row."""
    asked = pb.ModelInferRequest(model_name="iris", **more)
    given_input = asked.inputs.add(name="rows", datatype=datatype, shape=[len(values) // 4, 4])
    getattr(given_input.contents, field).extend(values)
    return asked


def refused(call: Any, asked: Any) -> grpc.RpcError:
    """Return the error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call(asked)
    return caught.value


def code(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the error's status."""
    return error.code()


def text(error: grpc.RpcError) -> str:
    """Return the error's text."""
    return str(error.details())


# what is there


def test_the_server_and_its_models_are_live_and_ready(client_of_triton: triton.InferenceServerClient) -> None:
    """Triton's client finds the server and its models live and ready."""
    assert client_of_triton.is_server_live()
    assert client_of_triton.is_server_ready()
    assert client_of_triton.is_model_ready("iris")
    assert client_of_triton.is_model_ready("iris", "1.0.0")
    assert client_of_triton.is_model_ready("churn")


def test_server_metadata_names_the_server_and_its_extensions(client_of_triton: triton.InferenceServerClient) -> None:
    """Server metadata has the name, the package's version and the extensions."""
    metadata = client_of_triton.get_server_metadata()
    assert (metadata.name, metadata.version) == ("orris", orris.__version__)
    assert "model_repository" in metadata.extensions


def test_model_metadata_names_versions_inputs_and_outputs(client_of_triton: triton.InferenceServerClient) -> None:
    """Model metadata equals that over REST: one input per column, ``predict`` and ``predict_proba``."""
    metadata = client_of_triton.get_model_metadata("iris")
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("iris", ["1.0.0"], "orris_onnx")
    assert [(i.name, i.datatype, list(i.shape)) for i in metadata.inputs] == [(name, "FP64", [-1, 1]) for name in NAMES]
    outputs = [(o.name, o.datatype, list(o.shape)) for o in metadata.outputs]
    assert outputs == [("predict", "BYTES", [-1]), ("predict_proba", "FP64", [-1, 3])]


def test_an_unknown_model_or_version_is_not_found(stub: Any) -> None:
    """Every call that names an unknown model or version is NOT_FOUND, and the text names the known ones."""
    calls = [
        (stub.ModelReady, pb.ModelReadyRequest(name="none")),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="none")),
        (stub.ModelMetadata, pb.ModelMetadataRequest(name="iris", version="9.9.9")),
        (stub.ModelInfer, request(model_version="9.9.9")),
    ]
    for call, asked in calls:
        error = refused(call, asked)
        assert code(error) == grpc.StatusCode.NOT_FOUND
        assert "iris" in text(error) or "1.0.0" in text(error)


def test_an_unknown_call_is_unimplemented(channel: grpc.Channel) -> None:
    """A call that no protocol has ends with gRPC's own status."""
    assert code(refused(channel.unary_unary(f"/{SERVICE}/ModelSleep"), b"")) == grpc.StatusCode.UNIMPLEMENTED


# ModelInfer


def test_raw_tensors_are_answered_raw(client_of_triton: triton.InferenceServerClient, iris: Bundle) -> None:
    """Raw tensors, as Triton's client sends them, get raw outputs that equal the answer in Python."""
    rows = np.random.default_rng(0).uniform(0.1, 8, (1_000, 4))
    result = client_of_triton.infer("iris", [tensor("rows", "FP64", rows)])
    model = orris.load(iris)
    assert np.array_equal(result.as_numpy("predict_proba"), model.predict_proba(rows))
    assert result.as_numpy("predict").tolist() == [label.encode() for label in model.predict(rows)]
    response = result.get_response()
    assert len(response.raw_output_contents) == 2
    assert not any(output.HasField("contents") for output in response.outputs)
    assert (response.model_name, response.model_version) == ("iris", "1.0.0")


def test_typed_tensors_are_answered_typed(stub: Any, iris: Bundle) -> None:
    """Typed tensors get outputs in the typed field of each output's datatype."""
    response = stub.ModelInfer(request())
    assert not response.raw_output_contents
    assert list(response.outputs[0].contents.bytes_contents) == [b"setosa"]
    assert list(response.outputs[1].contents.fp64_contents) == orris.load(iris).predict_proba([ROW])[0].tolist()
    assert [list(output.shape) for output in response.outputs] == [[1], [1, 3]]


def test_one_tensor_per_column_is_the_same(client_of_triton: triton.InferenceServerClient) -> None:
    """One tensor per column, in any order, of shape ``[n]`` or ``[n, 1]``, gets the same answer."""
    columns = [tensor(name, "FP64", [[value]]) for name, value in zip(NAMES, ROW, strict=True)]
    flat = [tensor(name, "FP64", [value]) for name, value in zip(NAMES, ROW, strict=True)]
    whole = client_of_triton.infer("iris", [tensor("rows", "FP64", [ROW])]).as_numpy("predict_proba")
    for inputs in (columns, columns[::-1], flat):
        assert np.array_equal(client_of_triton.infer("iris", inputs).as_numpy("predict_proba"), whole)


@pytest.mark.parametrize(
    ("datatype", "field"),
    [
        ("INT8", "int_contents"),
        ("INT16", "int_contents"),
        ("INT32", "int_contents"),
        ("INT64", "int64_contents"),
        ("UINT8", "uint_contents"),
        ("UINT16", "uint_contents"),
        ("UINT32", "uint_contents"),
        ("UINT64", "uint64_contents"),
        ("FP32", "fp32_contents"),
        ("FP64", "fp64_contents"),
    ],
)
def test_every_number_type_is_read_typed_and_raw(
    stub: Any, client_of_triton: triton.InferenceServerClient, datatype: str, field: str
) -> None:
    """Every numeric datatype gets the same answer, typed and raw."""
    typed = stub.ModelInfer(request([5, 3, 1, 1], datatype, field))
    raw = client_of_triton.infer("iris", [tensor("rows", datatype, [[5, 3, 1, 1]])])
    assert list(typed.outputs[1].contents.fp64_contents) == raw.as_numpy("predict_proba").ravel().tolist()


@pytest.mark.parametrize(
    ("datatype", "raw"),
    [("FP16", struct.pack("<4e", 5, 3, 1, 1)), ("BF16", struct.pack("<4H", 0x40A0, 0x4040, 0x3F80, 0x3F80))],
)
def test_half_floats_travel_raw_only(stub: Any, datatype: str, raw: bytes) -> None:
    """FP16 is read from raw contents only, since the protocol has no field for it."""
    asked = request([5, 3, 1, 1], datatype)
    assert "raw_input_contents" in text(refused(stub.ModelInfer, asked))
    asked.inputs[0].ClearField("contents")
    asked.raw_input_contents.append(raw)
    expected = stub.ModelInfer(request([5, 3, 1, 1])).outputs[1].contents.fp64_contents
    found = stub.ModelInfer(asked).raw_output_contents[1]
    assert list(struct.unpack("<3d", found)) == list(expected)


def test_the_id_is_echoed_and_an_absent_one_is_made(stub: Any) -> None:
    """The caller's id is echoed, and without one an id is made."""
    assert stub.ModelInfer(request(id="order-42")).id == "order-42"
    assert stub.ModelInfer(request()).id != stub.ModelInfer(request()).id


def test_the_version_may_be_named(stub: Any) -> None:
    """A request may name the version, and the answer names the version that answered."""
    assert stub.ModelInfer(request(model_version="1.0.0")).model_version == "1.0.0"


def test_outputs_are_the_requested_ones(stub: Any) -> None:
    """The outputs are the requested ones in that order, and all if none is named."""
    asked = request()
    asked.outputs.add(name="predict_proba")
    assert [output.name for output in stub.ModelInfer(asked).outputs] == ["predict_proba"]
    asked.outputs.add(name="predict")
    assert [output.name for output in stub.ModelInfer(asked).outputs] == ["predict_proba", "predict"]
    asked.outputs.add(name="nothing")
    assert "no output 'nothing'" in text(refused(stub.ModelInfer, asked))


def test_unknown_parameters_are_tolerated(stub: Any) -> None:
    """Unknown parameters of the request, its inputs and its outputs are ignored."""
    asked = request()
    asked.parameters["sequence_id"].int64_param = 7
    asked.inputs[0].parameters["content_type"].string_param = "np"
    asked.outputs.add(name="predict").parameters["binary_data"].bool_param = True
    assert list(stub.ModelInfer(asked).outputs[0].contents.bytes_contents) == [b"setosa"]


def test_an_unusual_value_is_answered_with_a_warning(stub: Any) -> None:
    """Warnings are among the response's parameters, as over REST."""
    response = stub.ModelInfer(request([5.1, 3.5, 1.4, 30.0]))
    assert json.loads(response.parameters["warnings"].string_param)[0]["column"] == "petal_width"
    assert "warnings" not in stub.ModelInfer(request()).parameters


def test_text_and_missing_values_travel(server: Server, client_of_triton: triton.InferenceServerClient) -> None:
    """Text as BYTES, and NaN or empty text for missing values, are answered as named rows are."""
    table = mixed_table(50).drop(columns="churned")
    named = json.loads(table.to_json(orient="records"))
    with client(server) as asking:
        answers = asking.post("/api/v1/models/churn/predict", json=named).json()["predictions"]
    inputs = [tensor("town", "BYTES", [[(row["town"] or "").encode()] for row in named])]
    for name in ("age", "visits", "member", "tariff", "spend"):
        inputs.append(tensor(name, "FP64", [[math.nan if row[name] is None else float(row[name])] for row in named]))
    result = client_of_triton.infer("churn", inputs)
    assert result.as_numpy("predict").tolist() == [answer["prediction_label"].encode() for answer in answers]
    assert result.as_numpy("predict_proba").tolist() == [answer["probabilities"] for answer in answers]


def test_text_that_is_not_utf8_is_named_with_its_row(client_of_triton: triton.InferenceServerClient) -> None:
    """Text that is not UTF-8 is refused with its row and column."""
    inputs = [tensor(name, "FP64", [1.0, 1.0]) for name in ("age", "visits", "member", "spend")]
    inputs += [tensor("tariff", "INT64", [10, 10]), tensor("town", "BYTES", [b"Oslo", b"\xff"])]
    with pytest.raises(InferenceServerException, match=r"row 1, column 'town': this text is not UTF-8"):
        client_of_triton.infer("churn", inputs)


# mistakes


def _broken() -> list[tuple[str, pb.ModelInferRequest, str]]:
    few, raw_beside, counted, twice, unknown, wrong_field, out_of_range = (request() for _ in range(7))
    del few.inputs[0].contents.fp64_contents[3:]
    raw_beside.raw_input_contents.append(struct.pack("<4d", *ROW))
    counted.inputs[0].ClearField("contents")
    counted.raw_input_contents.extend([b"", b""])
    twice.inputs.add().CopyFrom(twice.inputs[0])
    unknown.inputs[0].datatype = "FLOAT"
    wrong_field.inputs[0].datatype = "FP32"
    out_of_range = request([300, 1, 1, 1], "UINT8", "uint_contents")
    negative = request()
    negative.inputs[0].shape[:] = [-1, 4]
    return [
        ("an element too few", few, "elements"),
        ("contents beside raw contents", raw_beside, "one way"),
        ("another number of raw contents", counted, "2 raw_input_contents"),
        ("an input twice", twice, "no such input"),
        ("an unknown datatype", unknown, "FLOAT"),
        ("elements in another field", wrong_field, "fp32_contents"),
        ("an element out of range", out_of_range, "UINT8"),
        ("a shape that is none", negative, "negative"),
        ("no model", pb.ModelInferRequest(), "model_name"),
        ("no input", pb.ModelInferRequest(model_name="iris"), "no input"),
        ("a value out of bounds", request([5.1, -1, 1.4, 0.2]), "Measurement must be positive"),
        ("a value that is none", request([float("nan"), 1, 1, 1]), "sepal_length"),
        ("too many rows", request(ROW * 10_001), "10000"),
    ]


@pytest.mark.parametrize(
    ("asked", "says"), [(asked, says) for _, asked, says in _broken()], ids=[name for name, _, _ in _broken()]
)
def test_a_mistake_is_an_invalid_argument(stub: Any, asked: pb.ModelInferRequest, says: str) -> None:
    """A mistake in a request is INVALID_ARGUMENT, and its text names the place."""
    error = refused(stub.ModelInfer, asked)
    assert code(error) == grpc.StatusCode.INVALID_ARGUMENT
    assert says in text(error)


def test_a_message_that_is_no_message_is_an_invalid_argument(channel: grpc.Channel) -> None:
    """Bytes that are no message are INVALID_ARGUMENT in every call."""
    for name in ("ModelInfer", "ModelMetadata", "RepositoryIndex"):
        assert (
            code(refused(channel.unary_unary(f"/{SERVICE}/{name}"), b"\xff\xff\xff"))
            == grpc.StatusCode.INVALID_ARGUMENT
        )


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_a_message_over_the_limit_is_refused(channel: grpc.Channel, compression: grpc.Compression) -> None:
    """A message over the limit is refused, even if it is small while compressed."""
    call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(1_100_000), compression=compression)
    assert code(caught.value) == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_compressed_message_is_read(channel: grpc.Channel) -> None:
    """A compressed message of a gRPC client is read."""
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
    )
    assert call(request(), compression=grpc.Compression.Gzip).outputs[0].contents.bytes_contents[0] == b"setosa"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), cut=st.integers(0, 80), at=st.integers(0, 80))
def test_no_message_is_a_server_error(channel: grpc.Channel, noise: bytes, cut: int, at: int) -> None:
    """Random bytes and corrupted messages are answered or refused as the caller's mistake."""
    call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    true = request().SerializeToString()
    for message in (noise, true[:at] + noise + true[at + cut :]):
        future = call.future(message)
        assert future.code() in {grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert call(true)


# many at once, and what is told of them


def test_concurrent_calls_get_their_own_answers(stub: Any, iris: Bundle) -> None:
    """Of 64 concurrent calls, which share batches, each gets its own answer."""
    rows = np.random.default_rng(1).uniform(0.1, 8, (640, 4))
    expected = orris.load(iris).predict_proba(rows)
    with ThreadPoolExecutor(64) as pool:
        answers = list(
            pool.map(lambda row: stub.ModelInfer(request(row)).outputs[1].contents.fp64_contents, rows.tolist())
        )
    assert np.abs(np.array(answers) - expected).max() <= 1e-15


def test_a_call_is_counted_and_logged(server: Server, stub: Any) -> None:
    """A call is counted by method and status, and logged under the caller's request id."""
    response, call = stub.ModelInfer.with_call(request(), metadata=(("x-request-id", "grpc-1"),))
    assert dict(call.trailing_metadata())["x-request-id"] == "grpc-1"
    assert response.id == "grpc-1"
    refused(stub.ModelInfer, request([5.1]))
    with client(server) as asking:
        metrics = asking.get("/metrics").text
    assert re.search(r'orris_grpc_requests_total\{code="OK",method="ModelInfer"\} [1-9]', metrics)
    assert re.search(r'orris_grpc_requests_total\{code="INVALID_ARGUMENT",method="ModelInfer"\} [1-9]', metrics)
    assert re.search(r'orris_grpc_request_duration_seconds_count\{method="ModelInfer"\} [1-9]', metrics)
    assert 'http_requests_total{method="gRPC"' not in metrics
    lines = _logged(server, "grpc-1")
    assert lines[0] | {"time": "", "milliseconds": 0} == {
        "time": "", "level": "info", "request_id": "grpc-1", "method": "gRPC", "route": "ModelInfer", "status": 200,
        "milliseconds": 0, "model_version": "1.0.0", "rows": 1, "label": "setosa", "code": "OK",
    }  # fmt: skip


def _logged(server: Server, request_id: str) -> list[dict[str, Any]]:
    """Wait for the lines of a request, which are written in batches."""
    for _ in range(200):
        lines = [json.loads(line) for line in server.log_lines() if f'"{request_id}"' in line]
        if lines:
            return lines
        with client(server) as asking:
            asking.get("/health")
    raise AssertionError(f"{request_id} was not logged")


# repository


def test_the_index_lists_loaded_models(client_of_triton: triton.InferenceServerClient) -> None:
    """The repository index lists loaded models in the state that Triton's clients know."""
    index = client_of_triton.get_model_repository_index()
    assert {(m.name, m.version, m.state) for m in index.models} == {
        ("iris", "1.0.0", "READY"),
        ("churn", "1.0.0", "READY"),
    }


def test_load_and_unload_are_the_administrators(client_of_triton: triton.InferenceServerClient, stub: Any) -> None:
    """Only an administrator unloads a model, which makes it unavailable and the server not ready, and reloads it."""
    with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
        client_of_triton.unload_model("iris")
    admin = {"authorization": f"Bearer {ADMIN}"}
    client_of_triton.unload_model("iris", headers=admin)
    try:
        assert not client_of_triton.is_model_ready("iris")
        assert not client_of_triton.is_server_ready()
        assert code(refused(stub.ModelInfer, request())) == grpc.StatusCode.UNAVAILABLE
        assert {m.name for m in stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models} == {"churn"}
    finally:
        client_of_triton.load_model("iris", headers=admin)
    assert client_of_triton.is_model_ready("iris")
    assert stub.ModelInfer(request()).model_version == "1.0.0"


@pytest.mark.parametrize("name", ["A", "-x", "a" * 300, "a/../b", "\u00e9"])
def test_a_name_that_is_none_is_an_invalid_argument(stub: Any, name: str) -> None:
    """A name that no model can have is INVALID_ARGUMENT for a load, and at most NOT_FOUND for other calls."""
    admin = (("authorization", f"Bearer {ADMIN}"),)
    load = pb.RepositoryModelLoadRequest(model_name=name)
    with pytest.raises(grpc.RpcError) as failure:
        stub.RepositoryModelLoad(load, metadata=admin)
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    known = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert code(refused(stub.ModelInfer, pb.ModelInferRequest(model_name=name))) in known
    assert code(refused(stub.ModelMetadata, pb.ModelMetadataRequest(name=name))) in known


# health and reflection


def test_the_health_service_covers_server_and_models(channel: grpc.Channel) -> None:
    """The standard health service answers for the server and each model, and an unknown name is NOT_FOUND."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", SERVICE, "iris"):
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=service)).status
            == health_pb2.HealthCheckResponse.SERVING
        )
    assert code(refused(health.Check, health_pb2.HealthCheckRequest(service="none"))) == grpc.StatusCode.NOT_FOUND
    watched = health.Watch(health_pb2.HealthCheckRequest(service=""))
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()


def test_reflection_describes_the_service(channel: grpc.Channel) -> None:
    """The reflection service describes the API, as grpcurl needs it."""
    described = ProtoReflectionDescriptorDatabase(channel)
    assert {SERVICE, "grpc.health.v1.Health"} <= set(described.get_services())
    assert described.FindFileContainingSymbol(SERVICE).package == "inference"


# life


def test_where_predictions_need_a_credential_calls_need_it_too(iris: Bundle, tmp_path: Path) -> None:
    """Calls need the credential that predictions need, in the metadata, while probes need none."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'test = {{ sha256 = "{hashlib.sha256(b"orris_key").hexdigest()}", rate = 0.001, burst = 2 }}\n')
    with (
        serving(str(iris.folder), "--grpc-port", "0", "--api-keys", str(keys), folder=tmp_path) as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as opened,
    ):
        asking = service_pb2_grpc.GRPCInferenceServiceStub(opened)
        assert code(refused(asking.ModelInfer, request())) == grpc.StatusCode.UNAUTHENTICATED
        assert (
            code(refused(asking.ModelMetadata, pb.ModelMetadataRequest(name="iris"))) == grpc.StatusCode.UNAUTHENTICATED
        )
        assert (
            code(refused(asking.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="iris"))) in FORBIDDEN
        )
        assert asking.ServerReady(pb.ServerReadyRequest()).ready
        for metadata in (("x-api-key", "orris_key"), ("authorization", "Bearer orris_key")):
            assert asking.ModelInfer(request(), metadata=(metadata,)).model_name == "iris"
        with pytest.raises(grpc.RpcError) as caught:
            asking.ModelInfer(request(), metadata=(("x-api-key", "orris_key"),))
        assert code(caught.value) == grpc.StatusCode.RESOURCE_EXHAUSTED
        trailing: Any = caught.value.trailing_metadata()
        assert int(dict(trailing)["retry-after"]) >= 1


def test_a_stopping_server_answers_calls_in_flight(iris: Bundle, tmp_path: Path) -> None:
    """After SIGTERM every call is answered or UNAVAILABLE, and an open watch does not delay the end."""
    with (
        serving(
            str(iris.folder), "--grpc-port", "0", folder=tmp_path, environ={"ORRIS_DRAIN_SECONDS": "0.5"}
        ) as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as opened,
        ThreadPoolExecutor(8) as pool,
    ):
        asking = service_pb2_grpc.GRPCInferenceServiceStub(opened)
        health: Any = health_pb2_grpc.HealthStub(opened)
        watched = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING

        n_answered = [0] * 8

        def ask_until_refused(i: int) -> grpc.StatusCode:
            while True:
                try:
                    asking.ModelInfer(request())
                except grpc.RpcError as error:
                    return code(error)
                n_answered[i] += 1

        asked = [pool.submit(ask_until_refused, i) for i in range(8)]
        eventually(lambda: min(n_answered) > 0)
        running.process.send_signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        outcomes = [future.result(PATIENCE_SECONDS) for future in asked]
        assert running.process.wait(PATIENCE_SECONDS) == 0
    assert set(outcomes) == {grpc.StatusCode.UNAVAILABLE}


def test_grpc_uses_the_tls_certificate(iris: Bundle, tmp_path: Path) -> None:
    """The port of gRPC uses the certificate of HTTPS, and a client that does not trust it cannot connect."""
    chain, key = self_signed(tmp_path)
    with serving(
        str(iris.folder), "--grpc-port", "0", "--tls-cert", str(chain), "--tls-key", str(key), folder=tmp_path
    ) as running:
        address = f"localhost:{running.grpc_port}"
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(chain.read_bytes())) as opened:
            assert service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer(request()).model_name == "iris"
        with grpc.insecure_channel(address) as opened:
            assert (
                code(refused(service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer, request()))
                == grpc.StatusCode.UNAVAILABLE
            )


def test_several_workers_share_the_port(iris: Bundle, tmp_path: Path) -> None:
    """Any worker answers on the shared port, and each reports the calls of all."""
    with serving(str(iris.folder), "--grpc-port", "0", "--workers", "2", folder=tmp_path) as running:
        for _ in range(20):
            # A connection of its own, from which the kernel draws the worker.
            with grpc.insecure_channel(
                f"127.0.0.1:{running.grpc_port}", options=[("grpc.use_local_subchannel_pool", 1)]
            ) as opened:
                assert service_pb2_grpc.GRPCInferenceServiceStub(opened).ModelInfer(request()).model_name == "iris"
        # A worker tells the others what it has counted within moments.

        def n_counted() -> float:
            with client(running) as asking:
                found = re.search(
                    r'orris_grpc_requests_total\{code="OK",method="ModelInfer"\} (\S+)', asking.get("/metrics").text
                )
            return float(found.group(1)) if found else 0.0

        becomes(n_counted, 20)


def test_a_port_that_is_taken_is_named(server: Server, iris: Bundle) -> None:
    """A port in use stops the server before workers load anything, and the error names it."""
    command = [
        sys.executable,
        "-m",
        "orris",
        "serve",
        str(iris.folder),
        "--port",
        "0",
        "--grpc-port",
        str(server.grpc_port),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert done.returncode == 2
    assert f"--grpc-port {server.grpc_port}" in done.stderr


def test_without_grpc_nothing_of_it_is_imported() -> None:
    """Protocols and the server's wiring are imported without grpc, which costs time and memory."""
    program = (
        "import sys, orris.server.assembly; print([name for name in ('grpc', 'google.protobuf') if name in"
        " sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    assert done.stdout.strip() == "[]"


def test_generated_code_is_up_to_date() -> None:
    """``python -m tools.proto`` generates the code that is in the repository."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "tools/proto.py", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def test_field_numbers_equal_tritons() -> None:
    """Every field of our messages has the number and type that Triton's client has for it."""
    from orris.protocols.grpc.generated import open_inference_pb2 as ours

    names = [name for name in ours.DESCRIPTOR.message_types_by_name if hasattr(pb, name)]
    assert len(names) >= 20
    for name in names:
        mine, theirs = (getattr(module, name).DESCRIPTOR for module in (ours, pb))
        assert _fields(mine) <= _fields(theirs)


def _fields(descriptor: Any) -> set[tuple[str, int, int]]:
    """Return path, number and type of a message's fields."""
    found = {(f"{descriptor.name}.{field.name}", field.number, field.type) for field in descriptor.fields}
    return found.union(*(_fields(nested) for nested in descriptor.nested_types))
