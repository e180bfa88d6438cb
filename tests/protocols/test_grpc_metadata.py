"""Tests of odd metadata over gRPC: a call is answered or refused, and so is the next one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from orris.api import Bundle
from tests.servers import Server, client, serving

KEY = "orris_of_a_test"
ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
OK = grpc.StatusCode.OK
Metadata = tuple[tuple[str, str | bytes], ...]


@pytest.fixture(scope="module")
def keyed(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server that wants a key, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("metadata")
    keys = folder / "keys.toml"
    keys.write_text(f'test = {{ sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}" }}\n')
    with serving(str(iris.folder), "--grpc-port", "0", "--api-keys", str(keys), folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def stub(keyed: Server) -> Iterator[Any]:
    """Return a stub whose channel lets large metadata leave."""
    options = [("grpc.max_metadata_size", 16_000_000), ("grpc.absolute_max_metadata_size", 16_000_000)]
    with grpc.insecure_channel(f"127.0.0.1:{keyed.grpc_port}", options) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def status(stub: Any, metadata: Metadata) -> grpc.StatusCode:
    """Return the status of a prediction with this metadata."""
    request = pb.ModelInferRequest(model_name="iris")
    tensor = request.inputs.add(name="rows", datatype="FP64", shape=[1, 4])
    tensor.contents.fp64_contents.extend(ROW.values())
    try:
        stub.ModelInfer(request, metadata=metadata, timeout=90)
    except grpc.RpcError as error:
        found: Any = error
        code: grpc.StatusCode = found.code()
        return code
    return OK


CREDENTIALS: dict[str, Metadata] = {
    "Bearer": (("authorization", f"Bearer {KEY}"),),
    "bearer": (("authorization", f"bearer {KEY}"),),
    "BEARER": (("authorization", f"BEARER {KEY}"),),
    "two spaces": (("authorization", f"Bearer  {KEY}"),),
    "no space": (("authorization", f"Bearer{KEY}"),),
    "no scheme": (("authorization", KEY),),
    "Basic": (("authorization", f"Basic {KEY}"),),
    "a comma": (("authorization", f"Bearer {KEY}, Bearer {KEY}"),),
    "quoted": (("authorization", f'Bearer "{KEY}"'),),
    "upper case": (("authorization", f"Bearer {KEY.upper()}"),),
    "one letter more": (("authorization", f"Bearer {KEY}x"),),
    "one letter less": (("authorization", f"Bearer {KEY[:-1]}"),),
    "empty": (("authorization", ""),),
    "Bearer alone": (("authorization", "Bearer"),),
    "x-api-key": (("x-api-key", KEY),),
    "x-api-key, quoted": (("x-api-key", f'"{KEY}"'),),
    "x-api-key, with a scheme": (("x-api-key", f"Bearer {KEY}"),),
    "x-api-key, empty": (("x-api-key", ""),),
    "api-key": (("api-key", KEY),),
    "x_api_key": (("x_api_key", KEY),),
}


@pytest.mark.parametrize("case", list(CREDENTIALS))
def test_a_credential_is_taken_over_grpc_as_over_http(keyed: Server, stub: Any, case: str) -> None:
    """However a credential is spelt, gRPC takes it where HTTP does, and is UNAUTHENTICATED where HTTP answers 401."""
    metadata = CREDENTIALS[case]
    with client(keyed) as ask:
        answered = ask.post("/predict", json=ROW, headers=[(name, str(value)) for name, value in metadata]).status_code
    assert status(stub, metadata) == {200: OK, 401: grpc.StatusCode.UNAUTHENTICATED}[answered]


@pytest.mark.parametrize("name", ["authorization", "x-api-key"])
def test_a_wrong_credential_beside_a_right_one_is_no_fault_of_the_server(stub: Any, name: str) -> None:
    """A wrong credential twice is refused, and no order of a wrong and a right one is a fault of the server."""
    scheme = "Bearer " if name == "authorization" else ""
    wrong, right = (name, f"{scheme}wrong"), (name, f"{scheme}{KEY}")
    assert status(stub, (wrong, wrong)) == grpc.StatusCode.UNAUTHENTICATED
    for metadata in ((wrong, right), (right, wrong)):
        assert status(stub, metadata) in {OK, grpc.StatusCode.UNAUTHENTICATED}


ODD: dict[str, Metadata] = {
    "every byte": (("odd-bin", bytes(range(256))),),
    "no bytes": (("odd-bin", b""),),
    "a kilobyte": (("odd-bin", bytes(1024)),),
    "the same key a hundred times": tuple(("odd", str(i)) for i in range(100)),
    "every printable character": (("odd", "".join(map(chr, range(33, 127)))),),
    "an empty value": (("odd", ""),),
    "an empty request id": (("x-request-id", ""),),
    "a request id that is none": (("x-request-id", "{}\";'<script>"),),
    "a long request id": (("x-request-id", "x" * 1_000),),
    "request ids that differ": (("x-request-id", "one"), ("x-request-id", "two")),
    "a traceparent that is none": (("traceparent", "00-" + "0" * 32 + "-" + "0" * 16 + "-ff"),),
    "a traceparent of many": tuple(("traceparent", f"00-{i:032x}-{i:016x}-01") for i in range(20)),
    "a tracestate of commas": (("tracestate", "," * 500),),
    "headers of HTTP": (("content-length", "7"), ("host", "x"), ("accept-encoding", "br"), ("content-encoding", "br")),
    "cookies": (("cookie", "a=b; c=d"),),
    "a name of symbols": (("a.b-c_d", "x"),),
}


@pytest.mark.parametrize("case", list(ODD))
def test_odd_metadata_are_ignored(stub: Any, case: str) -> None:
    """A call whose metadata are odd, but short, is answered."""
    assert status(stub, (("x-api-key", KEY), *ODD[case])) == OK


HEAVY: dict[str, Metadata] = {
    "a value of 100 KB": (("odd", "x" * 100_000),),
    "binary of 100 KB": (("odd-bin", bytes(100_000)),),
    "five thousand entries": tuple((f"odd-{i}", "x") for i in range(5_000)),
    "a credential of 100 KB": (("authorization", "Bearer " + "x" * 100_000),),
}


@pytest.mark.parametrize("case", list(HEAVY))
def test_metadata_beyond_any_measure_harm_no_other_call(stub: Any, case: str) -> None:
    """Metadata of 100 KB or thousands of entries end their connection, and the next call is answered."""
    assert status(stub, (("x-api-key", KEY), *HEAVY[case])) == grpc.StatusCode.UNAVAILABLE
    assert status(stub, (("x-api-key", KEY),)) == OK


def test_metadata_over_the_limit_are_refused_alone(stub: Any) -> None:
    """Metadata of 40 KB, more than ``ORRIS_MAX_HEADER_BYTES``, are RESOURCE_EXHAUSTED on a connection that stays."""
    heavy = (("x-api-key", KEY), ("odd", "x" * 40_000))
    assert status(stub, heavy) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status(stub, (("x-api-key", KEY),)) == OK
