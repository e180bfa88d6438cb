"""Triton's extensions of the Open Inference Protocol, tested with Triton's own clients on a real process."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from tritonclient.utils import InferenceServerException

from orris.api import Bundle
from orris.protocols.grpc.reflection import V1, V1ALPHA
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, becomes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of gevent, at import
    import tritonclient.http as triton_http

ROW = [5.1, 3.5, 1.4, 0.2]
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def server(iris: Bundle, mixed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The iris model and the mixed one, behind HTTP and gRPC, by two workers."""
    folder = tmp_path_factory.mktemp("triton")
    with serving(str(iris.folder), str(mixed.folder), "--grpc-port", "0", "--workers", "2", folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def rest(server: Server) -> Iterator[triton_http.InferenceServerClient]:
    """Triton's client over HTTP."""
    with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as asking:
        yield asking


@pytest.fixture(scope="module")
def rpc(server: Server) -> Iterator[triton_grpc.InferenceServerClient]:
    """Triton's client over gRPC."""
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as asking:
        yield asking


@pytest.fixture(scope="module")
def clients(
    rest: triton_http.InferenceServerClient, rpc: triton_grpc.InferenceServerClient
) -> tuple[tuple[Any, dict[str, Any]], ...]:
    """Both clients, each with the arguments by which it answers with JSON."""
    return (rest, {}), (rpc, {"as_json": True})


def rows(module: Any, n: int = 1) -> Any:
    """An input of ``n`` iris rows."""
    made = module.InferInput("rows", [n, 4], "FP64")
    made.set_data_from_numpy(np.array([ROW] * n))
    return made


@pytest.mark.parametrize("version", ["", "1.0.0"])
def test_the_configuration_names_each_tensor_without_its_batch_dimension(clients: Any, version: str) -> None:
    """The dimensions of the configuration are those of the metadata but for the first, over HTTP and gRPC alike."""
    for asking, as_json in clients:
        found = asking.get_model_config("iris", version, **as_json)
        config = found.get("config", found)
        assert (config["name"], config["platform"], config["backend"]) == ("iris", "orris_onnx", "orris")
        assert config["max_batch_size"] == 100_000
        metadata = asking.get_model_metadata("iris", version, **as_json)
        for side in ("input", "output"):
            described = [
                (each["name"], each["datatype"], list(map(int, each["shape"][1:]))) for each in metadata[f"{side}s"]
            ]
            configured = [
                (each["name"], each["data_type"].removeprefix("TYPE_"), list(map(int, each.get("dims", []))))
                for each in config[side]
            ]
            assert [(name, kind.replace("BYTES", "STRING"), dims) for name, kind, dims in described] == configured
        assert config["parameters"]["task"]["string_value"] == "classification"
        assert config["parameters"]["model_version"]["string_value"] == "1.0.0"


def test_a_column_that_may_be_left_out_is_optional_in_the_configuration(
    rest: triton_http.InferenceServerClient, mixed: Bundle
) -> None:
    """Where the model answers a missing value, the column's tensor is optional."""
    optional = {tensor["name"]: tensor["optional"] for tensor in rest.get_model_config("churn")["input"]}
    assert optional == {column.name: column.missing for column in mixed.manifest.schema.columns}
    assert True in optional.values()


def test_statistics_count_rows_and_calls_of_all_workers(iris: Bundle, tmp_path: Path) -> None:
    """Each request for three rows adds three inferences and one execution, whichever worker answers.

    Workers tell each other a moment after an answer, so the counts are read until they have arrived.
    """

    def counts(asking: Any, **as_json: bool) -> tuple[int, int, int]:
        found = asking.get_inference_statistics("iris", "1.0.0", **as_json)["model_stats"][0]
        assert (found["name"], found["version"]) == ("iris", "1.0.0")
        computed = found["inference_stats"]["compute_infer"]
        n_computed = int(computed.get("count", 0))
        assert (int(computed.get("ns", 0)) > 0) == (n_computed > 0)
        return int(found.get("inference_count", 0)), int(found.get("execution_count", 0)), n_computed

    with (
        serving(str(iris.folder), "--grpc-port", "0", "--workers", "2", folder=tmp_path) as fresh,
        triton_http.InferenceServerClient(f"127.0.0.1:{fresh.port}") as rest,
        triton_grpc.InferenceServerClient(f"127.0.0.1:{fresh.grpc_port}") as rpc,
    ):
        assert counts(rest) == (0, 0, 0)
        for asking, module in ((rest, triton_http), (rpc, triton_grpc)):
            for _ in range(4):
                asking.infer("iris", [rows(module, 3)])
        becomes(lambda: counts(rest), (24, 8, 8))
        becomes(lambda: counts(rpc, as_json=True), (24, 8, 8))


def test_statistics_of_all_models_are_listed(clients: Any) -> None:
    """Without a name every loaded version is there, and a name that is not loaded is refused."""
    for asking, as_json in clients:
        listed = asking.get_inference_statistics(**as_json)["model_stats"]
        assert [(each["name"], each["version"]) for each in listed] == [("iris", "1.0.0"), ("churn", "1.0.0")]
        for missing in (("none", ""), ("iris", "9.9.9")):
            for call in (asking.get_inference_statistics, asking.get_model_config):
                with pytest.raises(InferenceServerException, match=r"no model|not loaded"):
                    call(*missing)


def test_metadata_has_properties_of_the_model(rest: triton_http.InferenceServerClient) -> None:
    """Task, target and labels are a map of texts, as the protocol's OpenAPI document has it."""
    assert rest.get_model_metadata("iris")["properties"] == {
        "task": "classification",
        "target": "species",
        "labels": '["setosa","versicolor","virginica"]',
    }


def test_extensions_that_are_answered_are_named(rest: triton_http.InferenceServerClient) -> None:
    """The server's metadata lists them under Triton's names."""
    assert {"model_configuration", "statistics"} <= set(rest.get_server_metadata()["extensions"])


def test_there_are_no_regions_of_shared_memory(clients: Any) -> None:
    """The status is empty, forgetting all regions succeeds, and a named region is not found."""
    for asking, as_json in clients:
        for kind in ("system", "cuda"):
            status = getattr(asking, f"get_{kind}_shared_memory_status")
            assert status(**as_json) in ([], {})
            getattr(asking, f"unregister_{kind}_shared_memory")()
            with pytest.raises(InferenceServerException, match="no shared memory region 'mine'"):
                status("mine")


def test_unsupported_calls_of_triton_are_refused_with_a_sentence(clients: Any) -> None:
    """The status is 501 or UNIMPLEMENTED, and the text says what is not offered."""
    for asking, _ in clients:
        inputs = rows(triton_http if asking is clients[0][0] else triton_grpc)
        calls = {
            "shared memory is not offered": lambda each=asking: each.register_system_shared_memory("a", "/a", 8),
            "shared memory is not": lambda each=asking: each.register_cuda_shared_memory("a", b"aGFuZGxl", 0, 8),
            "OTEL_": asking.get_trace_settings,
            "OTEL": lambda each=asking: each.update_trace_settings("iris" if each is clients[0][0] else None, {}),
            "ORRIS_LOG_": asking.get_log_settings,
            "ORRIS_LOG": lambda each=asking: each.update_log_settings({}),
        }
        for text, call in calls.items():
            with pytest.raises(InferenceServerException, match=text) as refused:
                call()
            assert refused.value.status() in {"501", "StatusCode.UNIMPLEMENTED"}
        module = triton_http if asking is clients[0][0] else triton_grpc
        classes = module.InferRequestedOutput("predict", class_count=2)
        with pytest.raises(InferenceServerException, match="classification is not offered") as refused:
            asking.infer("iris", [inputs], outputs=[classes])
        assert refused.value.status() in {"501", "StatusCode.UNIMPLEMENTED"}
        inputs.set_shared_memory("mine", 32)
        with pytest.raises(InferenceServerException, match="tensor 'rows': shared memory is not offered") as refused:
            asking.infer("iris", [inputs])
        assert refused.value.status() in {"501", "StatusCode.UNIMPLEMENTED"}


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_generation_is_501_whatever_the_method(server: Server, path: str, method: str) -> None:
    """A path of the protocol that is not offered answers in the protocol's shape of errors."""
    with client(server) as asking:
        refused = asking.request(method, f"/v2/models/iris/{path}", json={} if method == "POST" else None)
    assert (refused.status_code, list(refused.json())) == (501, ["error"])
    assert "generation is not offered" in refused.json()["error"]


@pytest.mark.parametrize("path", ["/v1/models/iris:explain", "/v1/models/iris/versions/1.0.0:explain"])
def test_v1_explain_is_501_with_a_reason(server: Server, path: str) -> None:
    """No bundle has an explainer, and the answer says where KServe keeps one."""
    with client(server) as asking:
        refused: httpx.Response = asking.post(path, json={"instances": [ROW]})
    assert (refused.status_code, list(refused.json())) == (501, ["error"])
    assert "explainer is a container of its own" in refused.json()["error"]


# streams


def test_a_stream_answers_each_request_in_order(rpc: triton_grpc.InferenceServerClient) -> None:
    """Requests of different sizes and a refused one on one stream, each answered with its own id or text."""
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    rpc.start_stream(lambda result, error: answers.put((result, error)))
    for n in (1, 2, 3):
        rpc.async_stream_infer("iris", [rows(triton_grpc, n)], request_id=str(n))
    rpc.async_stream_infer("none", [rows(triton_grpc)], request_id="4")
    rpc.async_stream_infer("iris", [rows(triton_grpc)], request_id="5")
    got = [answers.get(timeout=PATIENCE_SECONDS) for _ in range(5)]
    rpc.stop_stream()
    for n, (result, error) in zip((1, 2, 3), got, strict=False):
        assert error is None
        assert result.as_numpy("predict").tolist() == [b"setosa"] * n
        response = result.get_response()
        assert (response.id, response.parameters["triton_final_response"].bool_param) == (str(n), True)
    assert got[3][0] is None
    assert "no model 'none'" in got[3][1].message()
    assert got[4][0].get_response().id == "5"


@pytest.mark.parametrize("raw", [True, False])
def test_a_stream_of_usual_rows_is_answered_as_calls_are(server: Server, raw: bool) -> None:
    """Rows without an id, sent together or alone, are answered on a stream as each is in a call of its own."""
    asked = []
    for number in (5.1, 5.2, 5.3):
        request = ModelInferRequest(model_name="iris")
        tensor = request.inputs.add(name="rows", datatype="FP64", shape=[1, 4])
        row = np.array([number, 3.5, 1.4, 0.2])
        if raw:
            request.raw_input_contents.append(row.tobytes())
        else:
            tensor.contents.fp64_contents.extend(row.tolist())
        asked.append(request.SerializeToString())
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        call: Any = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        stream: Any = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        expected = [ModelInferResponse.FromString(call(body, timeout=PATIENCE_SECONDS)) for body in asked]
        together = list(stream(iter(asked), timeout=PATIENCE_SECONDS))
        alone = [next(stream(iter([body]), timeout=PATIENCE_SECONDS)) for body in asked]
    for answers in (together, alone):
        for answer, wanted in zip(map(ModelStreamInferResponse.FromString, answers), expected, strict=True):
            assert answer.error_message == ""
            assert list(answer.infer_response.outputs) == list(wanted.outputs)
            assert list(answer.infer_response.raw_output_contents) == list(wanted.raw_output_contents)
            assert answer.infer_response.parameters["triton_final_response"].bool_param


def test_a_stream_ends_where_no_message_of_it_would_be_answered(iris: Bundle, tmp_path: Any) -> None:
    """Without a credential where one is needed, the call's own status is UNAUTHENTICATED."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'test = {{ sha256 = "{"0" * 64}" }}\n')
    with (
        serving(str(iris.folder), "--grpc-port", "0", "--api-keys", str(keys), folder=tmp_path) as running,
        grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel,
    ):
        stream: Any = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")
        with pytest.raises(grpc.RpcError) as refused:
            next(stream(iter([ModelInferRequest(model_name="iris").SerializeToString()])))
        code: Any = refused.value
        assert code.code() == grpc.StatusCode.UNAUTHENTICATED


# reflection


def reflected(server: Server, service: str, **request: Any) -> Any:
    """The response to a request of reflection."""
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        return next(ask(iter([reflection_pb2.ServerReflectionRequest(**request)])))


@pytest.mark.parametrize("service", [V1, V1ALPHA])
@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        (SERVICE, "open_inference.proto"),
        (f"{SERVICE}.ModelReady", "open_inference.proto"),
        ("inference.ModelInferRequest.InferInputTensor", "open_inference.proto"),
        ("inference.ModelInferRequest.model_name", "open_inference.proto"),
        ("grpc.health.v1.Health.Check", "health.proto"),
        (f"{V1}.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
        (f"{V1ALPHA}.ServerReflectionInfo", "reflection.proto"),
    ],
)
def test_reflection_finds_the_file_of_every_symbol(server: Server, service: str, symbol: str, file: str) -> None:
    """Reflection finds services, methods, messages and fields under both of its names and repeats the request."""
    response = reflected(server, service, file_containing_symbol=symbol)
    assert response.original_request.file_containing_symbol == symbol
    files = map(FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto)
    assert any(found.name.endswith(file) for found in files)


@pytest.mark.parametrize("service", [V1, V1ALPHA])
def test_reflection_lists_the_services_and_finds_no_others(server: Server, service: str) -> None:
    """Both names of reflection list themselves; a symbol that is nowhere is NOT_FOUND."""
    listed = reflected(server, service, list_services="*").list_services_response.service
    assert {each.name for each in listed} == {SERVICE, "grpc.health.v1.Health", V1, V1ALPHA}
    for symbol in ("inference.None", f"{SERVICE}.None", "None"):
        error = reflected(server, service, file_containing_symbol=symbol).error_response
        assert error.error_code == grpc.StatusCode.NOT_FOUND.value[0]
