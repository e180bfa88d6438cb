"""Tests of the requests that are made of a model's card, and sent to real servers in every protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from orris.api import Bundle
from orris.errors import LoadTestError, SettingsError
from orris.loadtest import Arrivals, drive, prepare
from orris.loadtest.dialects import DIALECTS
from orris.loadtest.preparation import ask_card
from orris.loadtest.rows import Card, Column, drawn_rows, read_rows
from tests.loadtest_servers import misbehaving
from tests.servers import Server, serving

COLUMNS = (
    Column("age", "number", range=(0.0, 90.0)),
    Column("visits", "integer", missing=True, range=(1.0, 3.0)),
    Column("member", "boolean"),
    Column("town", "category", levels=("Oslo", "Rome")),
    Column("tariff", "category", levels=(10, 20)),
)
CSV = "age,visits,member,town,tariff,churned\n46.9,2,true,Oslo,10,yes\n12,,FALSE,Rome,20,no\n"
READ: list[dict[str, object]] = [
    {"age": 46.9, "visits": 2, "member": True, "town": "Oslo", "tariff": 10},
    {"age": 12.0, "visits": None, "member": False, "town": "Rome", "tariff": 20},
]


@pytest.fixture(scope="module")
def both_doors(mixed: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The mixed model, served over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("server")
    with serving(str(mixed.folder), "--grpc-port", "0", folder=folder) as running:
        yield running


@pytest.mark.parametrize("rows_per_request", [1, 3])
def test_every_protocol_is_answered(both_doors: Server, rows_per_request: int) -> None:
    """Requests of each protocol, drawn from a model of every kind of column, are all answered."""
    mix = {name: 1.0 for name in DIALECTS if rows_per_request == 1 or name != "features"}
    target = prepare(
        both_doors.url,
        mix=mix,
        n_rows=32,
        rows_per_request=rows_per_request,
        grpc_address=f"127.0.0.1:{both_doors.grpc_port}",
    )
    assert target.model == "churn@1.0.0"
    run = drive(target, Arrivals.constant(300, 0.6), connections=4, warm_up_seconds=0.1)
    assert run.whole.errors == {}
    assert {route.name for route in run.routes if route.answered > 0} == set(mix)


def test_weights_set_how_often_a_route_is_drawn(both_doors: Server) -> None:
    """A route of three times the weight gets three times the requests."""
    target = prepare(both_doors.url, mix={"native": 3, "v2": 1}, n_rows=4)
    drawn = [route for route, _ in target.drawn()]
    assert drawn.count(0) == 3 * drawn.count(1)


def test_a_model_is_named_in_the_routes(both_doors: Server) -> None:
    """A named model is requested on the routes with its name."""
    target = prepare(both_doors.url, model="churn", n_rows=1)
    assert b"POST /api/v1/models/churn/predict HTTP/1.1" in target.routes[0].contents[0]


def test_drawn_rows_begin_with_the_models_examples(both_doors: Server) -> None:
    """The first rows are examples of the training table, the others lie within its ranges and levels."""
    card = ask_card(both_doors.url, "", {})
    rows = drawn_rows(card, 200, seed=1)
    n_examples = len(card.examples)
    assert rows[:n_examples] == [example.row for example in card.examples]
    by_name = {column.name: column for column in card.columns}
    for row in rows[n_examples:]:
        assert row["town"] in by_name["town"].levels
        assert by_name["age"].range is not None
        assert by_name["age"].range[0] <= row["age"] <= by_name["age"].range[1]
        assert isinstance(row["visits"], int)
    assert rows == drawn_rows(card, 200, seed=1)
    assert rows != drawn_rows(card, 200, seed=2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", CSV),
        ("rows.json", json.dumps([dict(row, churned="yes") for row in READ])),
        ("rows.jsonl", "\n".join(json.dumps(row) for row in READ)),
    ],
)
def test_rows_are_read_from_files(tmp_path: Path, name: str, text: str) -> None:
    """CSV, a JSON list and JSON lines give the same rows; columns that the model does not have are left out."""
    (tmp_path / name).write_text(text)
    assert read_rows(tmp_path / name, COLUMNS) == READ


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no row in it"),
        ("age\n1\n", "row 1 has no column 'member'"),
        (CSV.replace("12,", "old,"), "row 2, column 'age': 'old' is no number"),
        (CSV.replace("true", "maybe"), "row 1, column 'member': 'maybe' is no boolean"),
        ("[1, 2]", "neither a list of JSON objects nor an object on each line"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """A file that cannot be sent is refused with the file, the row and the column."""
    path = tmp_path / "rows"
    path.write_text(text)
    with pytest.raises(LoadTestError, match=problem):
        read_rows(path, COLUMNS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(LoadTestError, match=r"none\.csv: No such file"):
        read_rows(tmp_path / "none.csv", COLUMNS)


def test_a_column_without_a_range_has_its_example() -> None:
    """A column that training saw no value of has the card's example."""
    card = Card("m", "1", (Column("x", "number", example=7.0),))
    assert drawn_rows(card, 2) == [{"x": 7.0}, {"x": 7.0}]
    assert msgspec.json.decode(b'{"name":"m","version":"1","columns":[],"golden_rows":3}', type=Card).columns == ()


def test_a_refused_row_ends_the_test_before_it_begins(server: Server) -> None:
    """If the server refuses the first request, the error has its status and its words."""
    with pytest.raises(LoadTestError, match=r"answers 422 to the first request \(native\).*positive"):
        prepare(
            server.url,
            rows=[{"sepal_length": -1.0, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}],
        )


def test_a_server_without_a_card_is_no_orris() -> None:
    """A server that has no model card is refused with what else can be done."""
    with misbehaving() as url, pytest.raises(LoadTestError, match="holds no model card"):
        prepare(url)


@pytest.mark.parametrize(
    ("mix", "problem"), [({"soap": 1.0}, "there is no protocol 'soap'"), ({"v2": 0.0}, "'v2' has the weight 0")]
)
def test_a_mix_is_of_known_protocols(mix: dict[str, float], problem: str) -> None:
    """A protocol that is not spoken, or a weight of nothing, is refused before the server is asked."""
    with pytest.raises(SettingsError, match=problem):
        prepare("http://127.0.0.1:9", mix=mix)


def test_a_model_that_is_not_served_is_named(server: Server) -> None:
    """A model that the server does not have is refused in the server's words."""
    with pytest.raises(LoadTestError, match="answers 404 to /api/v1/models/nobody/card"):
        prepare(server.url, model="nobody")


def test_grpc_that_nobody_listens_for_is_named(server: Server) -> None:
    """Without a gRPC server the error says where it was expected."""
    with pytest.raises(LoadTestError, match=r"127\.0\.0\.1:9 answers UNAVAILABLE"):
        prepare(server.url, mix={"grpc": 1}, grpc_address="127.0.0.1:9")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://", "http://localhost:x"])
def test_a_url_is_http(url: str) -> None:
    """What is no URL of a server is refused."""
    with pytest.raises(SettingsError, match="is no server's URL"):
        prepare(url)
