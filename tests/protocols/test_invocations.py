"""Tests of ``/invocations``: MLflow's scoring protocol and SageMaker's, with MLflow's own client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import orris
from orris.api import Bundle
from orris.errors import OrrisError
from orris.protocols.invocations import Invocations
from orris.schema.rows import RowReader
from orris.server.platforms import translate
from orris.serving.engine import Engine
from orris.settings import read_settings
from orris.tables import files as table
from orris.tables.csv_rows import MAX_BLANK_LINES, MISSING, read_csv
from orris.version import __version__
from tests.example_tables import mixed_table
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
LABELS = ["setosa", "virginica"]
RECORDS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
BACKWARDS = {"columns": NAMES[::-1], "data": [row[::-1] for row in ROWS]}
JSON, CSV = {"content-type": "application/json"}, {"content-type": "text/csv"}
HEADER = ",".join(NAMES)

FORMS: dict[str, Any] = {
    "split": {"dataframe_split": {"columns": NAMES, "data": ROWS}},
    "split with an index": {"dataframe_split": {"columns": NAMES, "index": [7, 8], "data": ROWS}},
    "split backwards": {"dataframe_split": BACKWARDS},
    "split of an array": {"dataframe_split": {"columns": [0, 1, 2, 3], "data": ROWS}},
    "split without names": {"dataframe_split": {"data": ROWS}},
    "records": {"dataframe_records": RECORDS},
    "instances of lists": {"instances": ROWS},
    "instances of objects": {"instances": RECORDS},
    "inputs of lists": {"inputs": ROWS},
    "inputs by column": {"inputs": {name: [row[j] for row in ROWS] for j, name in enumerate(NAMES)}},
}


@pytest.mark.parametrize("params", [{}, {"params": {"temperature": 0.5}, "other": [1]}], ids=["", "with parameters"])
@pytest.mark.parametrize("form", list(FORMS))
def test_every_json_form_is_answered(ask: httpx.Client, form: str, params: dict[str, Any]) -> None:
    """Every JSON form gets one label per row, and parameters and other members are tolerated."""
    answer = ask.post("/invocations", json=FORMS[form] | params)
    assert answer.status_code == 200
    assert answer.json() == {"predictions": LABELS}


def test_one_row_may_come_as_a_value_per_column(ask: httpx.Client) -> None:
    """MLflow's ``inputs`` of a single record, a value per column, is read as one row."""
    assert ask.post("/invocations", json={"inputs": RECORDS[0]}).json() == {"predictions": LABELS[:1]}


@pytest.mark.parametrize("route", ["/models/iris/invoke", "/models/iris/invocations"])
def test_a_model_can_be_named(ask: httpx.Client, route: str) -> None:
    """A model can be named in the path, as SageMaker does for several models in one container."""
    assert ask.post(route, json={"instances": ROWS}).json() == {"predictions": LABELS}


def test_probabilities_are_given_on_request(ask: httpx.Client, iris: Bundle) -> None:
    """``predict_method`` in ``params`` requests probabilities."""
    body = {"dataframe_split": {"columns": NAMES, "data": ROWS}, "params": {"predict_method": "predict_proba"}}
    assert ask.post("/invocations", json=body).json() == {"predictions": orris.load(iris).predict_proba(ROWS).tolist()}


BAD: list[Any] = [
    [],
    None,
    "text",
    {},
    {"params": {}},
    {"columns": NAMES, "data": ROWS},
    {"instances": ROWS, "inputs": ROWS},
    {"dataframe_split": ROWS},
    {"dataframe_split": {"columns": NAMES}},
    {"dataframe_split": {"columns": "abcd", "data": ROWS}},
    {"dataframe_split": {"columns": NAMES[:3], "data": ROWS}},
    {"dataframe_split": {"columns": [*NAMES[:3], "colour"], "data": ROWS}},
    {"dataframe_split": {"columns": [*NAMES[:3], NAMES[0]], "data": ROWS}},
    {"dataframe_records": RECORDS[0]},
    {"dataframe_records": []},
    {"inputs": {"sepal_length": [5.1], "sepal_width": 3.5}},
    {"inputs": {name: [row[j] for row in ROWS[: 1 + j % 2]] for j, name in enumerate(NAMES)}},
    {"instances": [[5.1, 3.5, 1.4, float("nan")]]},
    {"instances": [[5.1, 3.5, 1.4, float("inf")]]},
    {"instances": ROWS, "params": {"predict_method": "predict_log_proba"}},
]


@pytest.mark.parametrize("body", BAD, ids=[json.dumps(body)[:60] for body in BAD])
def test_a_bad_body_is_400_in_mlflows_shape(ask: httpx.Client, body: Any) -> None:
    """An empty list, none or two of the forms, or rows that do not fit get 400 in MLflow's shape."""
    refused = ask.post("/invocations", content=json.dumps(body), headers=JSON)
    assert refused.status_code == 400
    assert refused.json()["error_code"] == "BAD_REQUEST"
    assert refused.json()["message"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON;charset=UTF-8", 200),
        ("application/json; charset=latin-1", 415),
        ("application/json; format=pandas-split", 415),
        ("application/vnd.apache.parquet", 415),
        ("text/plain", 415),
        ("text/csv; header=present", 400),
    ],
)
def test_content_types_are_held_to_as_mlflow_does(ask: httpx.Client, content_type: str, status: int) -> None:
    """An unsupported content type gets 415 as plain text, as MLflow does."""
    answer = ask.post("/invocations", content=json.dumps({"instances": ROWS}), headers={"content-type": content_type})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain" if status == 415 else "application/json")


def test_other_methods_are_refused_in_mlflows_shape(ask: httpx.Client) -> None:
    """Other methods get 405 with the allowed methods."""
    refused = ask.get("/invocations")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert refused.json()["error_code"] == "BAD_REQUEST"


@pytest.mark.parametrize("route", ["invocations", "invoke"])
def test_an_unknown_model_is_404_in_mlflows_shape(ask: httpx.Client, route: str) -> None:
    """A model that is not served gets 404 on the routes that name one."""
    refused = ask.post(f"/models/absent/{route}", json={"instances": [[5.1, 3.5, 1.4, 0.2]]})
    assert (refused.status_code, set(refused.json())) == (404, {"error_code", "message"})


CSVS = {
    "plain": f"{HEADER}\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n",
    "no last line break": f"{HEADER}\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3",
    "windows": f"{HEADER}\r\n5.1,3.5,1.4,0.2\r\n6.7,3.0,5.2,2.3\r\n",
    "byte order mark": f"\ufeff{HEADER}\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n",
    "quoted": '"sepal_length","sepal_width","petal_length","petal_width"\n"5.1","3.5","1.4","0.2"\n6.7,3.0,5.2,2.3\n',
    "spaces and blank lines": (
        "sepal_length, sepal_width, petal_length, petal_width\n 5.1, 3.5, 1.4, 0.2\n\n6.7,3.0,5.2,2.3\n\n"
    ),
    "other notations": f"{HEADER}\n+5.1,3.50,.14e1,2e-1\n6.7,3.,5.2,2.3\n",
    "an index, as pandas writes it": pd.DataFrame(ROWS, columns=NAMES).to_csv(),
    "columns backwards": pd.DataFrame(ROWS, columns=NAMES)[NAMES[::-1]].to_csv(index=False),
}


@pytest.mark.parametrize("text", list(CSVS))
def test_csv_is_answered(ask: httpx.Client, text: str) -> None:
    """CSV with a line of column names in any order is answered."""
    answer = ask.post("/invocations", content=CSVS[text].encode(), headers=CSV)
    assert (answer.status_code, answer.json()) == (200, {"predictions": LABELS})


BAD_CSVS = {
    "empty": "",
    "no row": HEADER,
    "misspelt names": "sepal length,sepal width,petal length,petal width\n5.1,3.5,1.4,0.2\n",
    "a short line": f"{HEADER}\n5.1,3.5,1.4\n",
    "a long line": f"{HEADER}\n5.1,3.5,1.4,0.2,7\n",
    "two lines in one": f"{HEADER}\n5.1,3.5,1.4,0.2],[6.7,3.0,5.2,2.3\n",
    "text": f"{HEADER}\n5.1,3.5,1.4,wide\n",
    "JSON's true": f"{HEADER}\n5.1,3.5,1.4,true\n",
    "missing": f"{HEADER}\n5.1,3.5,,0.2\n",
    "infinity": f"{HEADER}\n5.1,3.5,1.4,inf\n",
    "underscores": f"{HEADER}\n5.1,3.5,1.4,1_0\n",
    "out of bounds": f"{HEADER}\n5.1,3.5,1.4,-1\n",
    "a misspelt column": f"{HEADER}".replace("petal_width", "petal_with") + "\n5.1,3.5,1.4,0.2\n",
    "a column twice": f"{HEADER},{NAMES[0]}\n5.1,3.5,1.4,0.2,5.1\n",
    "too many blank lines": "\n" * (MAX_BLANK_LINES + 2) + f"{HEADER}\n5.1,3.5,1.4,0.2\n",
    "an open quotation": f'{HEADER}\n5.1,3.5,1.4,"0.2\n',
}


@pytest.mark.parametrize("text", list(BAD_CSVS))
def test_bad_csv_is_400(ask: httpx.Client, text: str) -> None:
    """Bad CSV gets 400 in MLflow's shape, with row and column where there are some."""
    refused = ask.post("/invocations", content=BAD_CSVS[text].encode(), headers=CSV)
    assert refused.status_code == 400
    assert refused.json()["error_code"] == "BAD_REQUEST"


def test_csv_that_is_not_utf8_is_400(ask: httpx.Client) -> None:
    """CSV that is not UTF-8 gets 400 with the place of the first wrong byte."""
    refused = ask.post("/invocations", content=HEADER.encode() + b"\n\xff\xfe", headers=CSV)
    assert refused.status_code == 400
    assert "not UTF-8" in refused.json()["message"]


def test_csv_of_every_kind_of_column_is_read_as_the_table_was(mixed: Bundle, mixed_server: Server) -> None:
    """Every kind of column, with missing values as pandas writes them, is read from CSV as in training."""
    frame = mixed_table(200, seed=5).drop(columns="churned")
    expected = orris.load(mixed).predict(frame).tolist()
    with client(mixed_server) as asking:
        csv = asking.post("/invocations", content=frame.to_csv(index=False).encode(), headers=CSV)
        assert (csv.status_code, csv.json()) == (200, {"predictions": expected})


def test_missing_texts_are_the_same_in_csv_and_in_training(tmp_path: Path) -> None:
    """A training table misses a value exactly where a request's CSV does."""
    texts = ["", "NA", "N/A", "null", "NULL", "NaN", "nan"]
    assert frozenset(texts) == MISSING
    path = tmp_path / "table.csv"
    path.write_text("size,kind\n" + "".join(f"{text},{text}\n" for text in [*texts, "1"]))
    assert table.read_table(path).isna().to_numpy().tolist() == [[True, True]] * len(texts) + [[False, False]]


def test_a_level_called_na_is_a_level(tmp_path: Path) -> None:
    """A level named NA, as a frame may have, is read as that level."""
    frame = pd.DataFrame({"country": ["NA", "DE"] * 30, "y": ["warm", "cold"] * 30})
    bundle = orris.train(frame, target="y", name="country", model="logistic", store=tmp_path)
    reader = RowReader(bundle.manifest.schema)
    levels = bundle.manifest.schema.columns[0].levels
    assert read_csv(reader, b"country\nNA\nDE\n").ravel().tolist() == [levels.index("NA"), levels.index("DE")]


NUMBERS = st.floats(0.001, 1e6) | st.integers(1, 10**6)


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=5), quote=st.booleans())
@settings(max_examples=100, deadline=None)
def test_csv_is_read_to_the_last_bit(iris: Bundle, rows: list[tuple[float, ...]], quote: bool) -> None:
    """The quick reader of CSV, for numbers only, and the general one give the same floats."""
    header = f'"{NAMES[0]}",{",".join(NAMES[1:])}' if quote else HEADER
    text = "\n".join([header, *(",".join(map(repr, row)) for row in rows)])
    assert read_csv(RowReader(iris.manifest.schema), text.encode()).tolist() == [list(map(float, row)) for row in rows]


CELLS = st.one_of(
    st.floats().map(repr),
    st.sampled_from(["", "NA", "true", "Rome", '"', '""', "[", "]", "],[", "\\", "{", ":", "1e999"]),
    st.text(),
)


@given(lines=st.lists(st.lists(CELLS, max_size=7).map(",".join), max_size=4), named=st.booleans())
@settings(max_examples=120, deadline=None)
def test_no_csv_is_a_fault_of_the_server(mixed: Bundle, lines: list[str], named: bool) -> None:
    """Any CSV body is read, or refused with a reason for the caller."""
    schema = mixed.manifest.schema
    body = "\n".join([",".join(schema.names), *lines] if named else lines).encode("utf-8", "surrogatepass")
    try:
        rows = read_csv(RowReader(schema), body)
    except OrrisError as error:
        refused = error
    else:
        assert rows.shape[1] == schema.n_columns
        return
    assert Invocations().refuse(refused, "id").status == 400


def test_ping_and_version_answer(ask: httpx.Client) -> None:
    """``/ping`` and ``/version`` answer as MLflow's client and SageMaker expect."""
    assert (ask.get("/ping").status_code, ask.get("/ping").text) == (200, "\n")
    assert ask.get("/version").text == __version__
    assert ask.get("/health").status_code == 200


# clients that others wrote

MLFLOW = """
import json, sys
import pandas as pd
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

told = []
for port, path in zip(sys.argv[1::2], sys.argv[2::2]):
    client = ScoringServerClient("127.0.0.1", int(port))
    client.wait_server_ready()
    frame = pd.read_csv(path)
    probabilities = client.invoke(frame, params={"predict_method": "predict_proba"})
    told.append(
        {
            "version": client.get_version(),
            "frame": client.invoke(frame).get_predictions()[0].tolist(),
            "proba": probabilities.get_predictions("ndarray").tolist(),
            "rows": client.invoke(frame.to_numpy()).get_predictions("ndarray").tolist(),
        }
    )
print(json.dumps(told))
"""
PLAIN = pd.DataFrame(ROWS, columns=NAMES)
WITH_GAPS = mixed_table(50, seed=7).drop(columns="churned")


@pytest.fixture(scope="module")
def mlflow_answers(
    server: Server, mixed_server: Server, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """Return what MLflow's scoring client gets for ``PLAIN`` and ``WITH_GAPS``, in a process of its own.

    / A process of its own, because its imports warn and change other libraries.
    """
    pytest.importorskip("mlflow", reason="mlflow-skinny is in the dev group")
    command = [sys.executable, "-W", "ignore", "-c", MLFLOW]
    for running, frame in ((server, PLAIN), (mixed_server, WITH_GAPS)):
        path = tmp_path_factory.mktemp("frames") / "frame.csv"
        frame.to_csv(path, index=False)
        command += [str(running.port), str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, run.stderr
    found: list[dict[str, Any]] = json.loads(run.stdout.splitlines()[-1])
    return found


def test_mlflows_client_works_unchanged(mlflow_answers: list[dict[str, Any]], iris: Bundle) -> None:
    """MLflow's client sends frames, arrays and parameters, and gets the answers of Python."""
    proba = orris.load(iris).predict_proba(PLAIN).tolist()
    assert mlflow_answers[0] == {"version": __version__, "frame": LABELS, "proba": proba, "rows": LABELS}


def test_mlflows_client_sends_missing_values(mlflow_answers: list[dict[str, Any]], mixed: Bundle) -> None:
    """MLflow's client sends missing values as ``NaN``, which is not JSON, and they are read as missing."""
    model, told = orris.load(mixed), mlflow_answers[1]
    assert WITH_GAPS.isna().to_numpy().any()
    assert told["frame"] == told["rows"] == model.predict(WITH_GAPS).tolist()
    np.testing.assert_array_equal(np.array(told["proba"]), model.predict_proba(WITH_GAPS))


# SageMaker


def test_sagemakers_folder_is_served(iris: Bundle, tmp_path: Path) -> None:
    """``serve`` without further arguments serves SageMaker's folder."""
    with serving(folder=tmp_path, environ={"SM_MODEL_DIR": str(iris.folder)}) as running, client(running) as asking:
        assert asking.get("/ping").status_code == 200
        assert asking.post("/invocations", content=CSVS["plain"], headers=CSV).json() == {"predictions": LABELS}


def test_sagemakers_folder_sets_default_port_8080(iris: Bundle, tmp_path: Path) -> None:
    """A bundle in SageMaker's folder sets port 8080 on all addresses; a variable or a named model overrides it."""
    environ = {"SM_MODEL_DIR": str(iris.folder)}
    found = read_settings(translate(environ))
    assert (found.model, found.port, found.host) == (str(iris.folder), 8080, "0.0.0.0")  # noqa: S104
    assert read_settings(translate(environ | {"ORRIS_PORT": "9000"})).port == 9000
    assert read_settings(translate(environ | {"SAGEMAKER_BIND_TO_PORT": "9100", "ORRIS_PORT": "9000"})).port == 9100
    assert read_settings(translate(environ, model_named=True)) == read_settings({})
    assert read_settings(translate(environ | {"ORRIS_MODEL": "iris"})).port == 8000
    assert read_settings(translate({"SM_MODEL_DIR": str(tmp_path)})) == read_settings({})


def test_labels_and_values_have_their_own_type(tmp_path: Path) -> None:
    """Labels that are integers are JSON integers, and a regression answers numbers."""
    frame = pd.DataFrame({"x": np.linspace(-3, 3, 60)})
    for values, expected in ((np.where(frame["x"] > 0, 7, 3), [3, 7]), (2.5 * frame["x"], None)):
        bundle = orris.train(
            frame.assign(y=values), target="y", name="typed", store=tmp_path, version=f"1.0.{expected is None:d}"
        )
        engine = Engine.load(bundle.folder)
        asked = Invocations().read(engine, b'{"inputs": {"x": [-2, 2]}}', {})
        answer = json.loads(Invocations().write(engine, asked, engine.run(asked.rows), "id", []).body)
        assert answer == {"predictions": expected or orris.load(bundle).predict([[-2], [2]]).tolist()}
