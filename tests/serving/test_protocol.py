"""Tests of the protocols' records: what is derived from them, and how a new protocol is added."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
from starlette.routing import Route as StarletteRoute

from orris.api import Bundle
from orris.protocols.descriptions import schemas
from orris.protocols.grpc.dialect import PROTOCOL as GRPC
from orris.protocols.grpc.generated import open_inference_pb2 as pb
from orris.server.assembly import PROTOCOLS, Served, assemble
from orris.server.grpc import GrpcAccess
from orris.serving.access.gate import Access
from orris.serving.engine import Engine
from orris.serving.exchange import Reply
from orris.serving.pages.application import build_pages
from orris.serving.pages.record import DOCUMENTATION, PAGES
from orris.serving.processes.board import LocalBoard
from orris.serving.protocol import Absent, Credential, Get, Page, Predict, Protocol, Route
from orris.serving.routing import UNMATCHED, RouteTable
from orris.settings import Settings
from tests.servers import client, serving

OPEN = {
    "/",
    "/health",
    "/ready",
    "/ping",
    "/api/v1/health",
    "/v1/models/{model}",
    "/v1/models/{model}/versions/{version}",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/versions/{version}/ready",
    "/docs",
    "/docs/start.js",
    "/docs/assets/{name}",
    "/ui/{file}",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
    "/inference.GRPCInferenceService/ModelReady",
}
"""Every route that answers without a credential; whoever adds one has to add it here as well."""

ADMINISTRATORS = {
    "/api/v1/model/reload",
    "/api/v1/model/rollback",
    "/v2/repository/models/{model}/load",
    "/v2/repository/models/{model}/unload",
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
}


@pytest.fixture(scope="module")
def served(iris: Bundle) -> Served:
    """Return a server that is put together and does not listen."""
    settings = Settings(access_log=False, tracing="off")
    return assemble([(Engine.load(iris.folder), "iris")], settings, grpc=GrpcAccess([], LocalBoard()))


def test_a_route_is_guarded_by_default() -> None:
    """A record that does not open its route, and a path without a record, need a credential."""
    assert Route("/new").credential is Credential.CALLER
    for kind in (Route, Predict, Get, Page):
        default = next(field.default for field in fields(kind) if field.name == "credential")
        assert default is Credential.CALLER
    table = RouteTable(Protocol("new", (Route("/new"), Route("/new/{model}"))))
    assert {table.credential(path) for path in ("/new", "/new/iris", "/other", "")} == {Credential.CALLER}


def test_the_open_routes_are_listed_here(served: Served) -> None:
    """The open and the administrator's routes are exactly those that this test lists."""
    table = served.routes.table
    assert {route.template for route in table if route.credential is Credential.NONE} == OPEN
    assert {route.template for route in table if route.credential is Credential.ADMIN} == ADMINISTRATORS
    assert {route.template for route in table if route.credential is Credential.METRICS} == {
        "/metrics",
        "/api/v1/metrics",
    }
    assert {route.template for route in table if route.credential is Credential.OPENAPI} == {"/openapi.json"}


def test_no_two_protocols_have_a_route_in_common() -> None:
    """No two records share a method and a template, because the later one would never be reached."""
    templates = [route.template for protocol in (*PROTOCOLS, PAGES, GRPC) for route in protocol.routes]
    assert len(templates) == len(set(templates))


def test_the_pages_of_fastapi_are_those_of_the_record(served: Served) -> None:
    """Every page that FastAPI answers has a record, and every record of a page has an answer."""
    app = build_pages(
        served.catalog,
        served.routes.table,
        problem=lambda *_: Reply(404, b""),
        access=Access(),
        schemas=schemas,
    )
    assert {route.path for route in app.routes if isinstance(route, StarletteRoute)} == {
        route.template for route in PAGES.routes
    }
    assert {route.template for route in PAGES.routes} >= DOCUMENTATION


def test_the_calls_over_grpc_are_those_of_the_service() -> None:
    """Every record is a method of the protocol's file, and every method that is served has a record."""
    methods = {
        f"/{pb.DESCRIPTOR.services_by_name['GRPCInferenceService'].full_name}/{m.name}"
        for m in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
    }
    assert {route.template for route in GRPC.routes} == methods


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("/v1/models/iris", "/v1/models/{model}"),
        ("/v2/models/iris/versions/1.0.0/ready", "/v2/models/{model}/versions/{version}/ready"),
        ("/ui/page.css", "/ui/{file}"),
        ("/ui/nothing.css", UNMATCHED),
        ("/v2/models/a/b/ready", UNMATCHED),
        ("/health/", UNMATCHED),
    ],
)
def test_a_path_is_counted_under_its_template(served: Served, path: str, label: str) -> None:
    """Any path is counted under a template, so the labels of metrics and logs are bounded."""
    assert served.routes.template(path) == label


def test_every_documented_route_is_described_and_every_other_is_a_part_or_an_alias(served: Served) -> None:
    """Only the parts of pages, the documentation itself, gRPC and a second spelling have no operation in OpenAPI.

    What is not offered has none either.
    """
    offered = [route for route in served.routes.table if not isinstance(route, Absent)]
    without = {route.template for route in offered if route.operation is None}
    assert {template for template in without if not template.startswith("/inference.")} == {
        *DOCUMENTATION,
        "/ui/{file}",
        "/v2/",
    }


def written(folder: Path) -> Path:
    """Write the two files of the recipe in docs/protocols.md and return the second."""
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
    for name, content in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(content)
    return folder / "serve_words.py"


def test_the_recipe_of_a_new_protocol_works(iris: Bundle, tmp_path: Path) -> None:
    """The example of docs/protocols.md, written to a file as it stands, answers beside the other protocols."""
    program = written(tmp_path)
    with (
        serving(str(iris.folder), folder=tmp_path, program=program) as running,
        client(running) as ask,
    ):
        assert ask.post("/words/iris", content="5.1 3.5 1.4 0.2").text == "setosa"
        assert ask.post("/predict", json={"features": [5.1, 3.5, 1.4, 0.2]}).json()["prediction_label"] == "setosa"
        refused = ask.post("/words/iris", content="5.1 three")
        assert (refused.status_code, refused.text) == (400, "'three' is not a number")
        assert ask.get("/words/none").text == "there is no /words/none here"
        assert "/words/{model}" in ask.get("/openapi.json").json()["paths"]
        assert 'route="/words/{model}"' in ask.get("/metrics").text


def test_a_third_party_protocol_is_guarded_by_keys(iris: Bundle, tmp_path: Path) -> None:
    """With keys configured, a third party's protocol needs a credential although its record does not mention them."""
    program = written(tmp_path)
    (tmp_path / "keys.toml").write_text(f'ci = {{ sha256 = "{"a" * 64}" }}\n')
    environ = {"ORRIS_API_KEYS_FILE": str(tmp_path / "keys.toml")}
    with (
        serving(str(iris.folder), folder=tmp_path, program=program, environ=environ) as running,
        client(running) as ask,
    ):
        assert ask.post("/words/iris", content="5.1 3.5 1.4 0.2").status_code == 401
        assert ask.get("/words/none").status_code == 401
