"""Tests of tables as SageMaker's serializers write them and its deserializers read them, on a real server."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import numpy as np
import pytest

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
LABELS = ["setosa", "virginica"]
CSV = "5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n"
HEADED = ",".join(NAMES) + "\n" + CSV


def npy(array: Any, **more: Any) -> bytes:
    """Return an array as ``NumpySerializer`` writes it."""
    stream = io.BytesIO()
    np.save(stream, np.asarray(array), **more)
    return stream.getvalue()


BODIES: dict[str, tuple[str, bytes]] = {
    "NumPy array": ("application/x-npy", npy(ROWS)),
    "NumPy array of float32": ("application/x-npy", npy(np.array(ROWS, dtype=np.float32))),
    "NumPy array in Fortran's order": ("application/x-npy", npy(np.asfortranarray(ROWS))),
    "big-endian NumPy array": ("application/x-npy", npy(np.array(ROWS, dtype=">f8"))),
    "JSON lines of lists": ("application/jsonlines", b"\n".join(json.dumps(row).encode() for row in ROWS)),
    "JSON lines of objects": (
        "application/jsonlines",
        b"\n".join(json.dumps(dict(zip(NAMES, row, strict=True))).encode() for row in ROWS) + b"\n",
    ),
    "CSV without names": ("text/csv", CSV.encode()),
    "CSV that says it has no names": ("text/csv; header=absent", CSV.encode()),
    "CSV that says it has names": ("text/csv; charset=utf-8; header=present", HEADED.encode()),
    "CSV with names": ("text/csv", HEADED.encode()),
    "bare list": ("application/json", json.dumps(ROWS).encode()),
}


@pytest.mark.parametrize("form", list(BODIES))
def test_every_form_of_a_table_is_answered(ask: httpx.Client, form: str) -> None:
    """Each form of the same two rows gets the same two predictions."""
    content_type, body = BODIES[form]
    answer = ask.post("/invocations", content=body, headers={"content-type": content_type})
    assert (answer.status_code, answer.json()) == (200, {"predictions": LABELS})


@pytest.mark.parametrize("body", [npy(ROWS[0]), json.dumps(ROWS[0]).encode()], ids=["NumPy array", "list"])
def test_one_row_may_be_sent_without_a_list_around_it(ask: httpx.Client, body: bytes) -> None:
    """A list of numbers, and an array of one dimension, is one row."""
    kind = "application/x-npy" if body.startswith(b"\x93") else "application/json"
    answer = ask.post("/invocations", content=body, headers={"content-type": kind})
    assert answer.json() == {"predictions": LABELS[:1]}


def test_csv_is_answered_on_the_native_routes(ask: httpx.Client) -> None:
    """CSV on the native routes gets the answers of the same rows in JSON."""
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    expected = ask.post("/predict", json=rows).json()["predictions"]
    for text in (CSV, HEADED):
        answer = ask.post("/api/v1/predict", content=text, headers={"content-type": "text/csv"})
        assert answer.json()["predictions"] == expected


def test_answers_come_in_the_form_that_is_accepted(ask: httpx.Client) -> None:
    """``Accept`` selects CSV, JSON lines or an array, and the default is JSON."""
    body = {"instances": ROWS}
    answers = {
        accept: ask.post("/invocations", json=body, headers={"accept": accept})
        for accept in ("text/csv", "application/jsonlines", "application/x-npy", "application/json", "image/png")
    }
    assert answers["text/csv"].text == "setosa\nvirginica\n"
    assert answers["application/jsonlines"].text == '"setosa"\n"virginica"\n'
    assert np.load(io.BytesIO(answers["application/x-npy"].content)).tolist() == LABELS
    assert answers["application/json"].json() == answers["image/png"].json() == {"predictions": LABELS}
    for accept in ("text/csv", "application/jsonlines", "application/x-npy"):
        assert answers[accept].headers["content-type"] == accept


def test_probabilities_leave_as_an_array(ask: httpx.Client) -> None:
    """Probabilities in an array equal those in JSON to the last bit."""
    body = {"instances": ROWS, "params": {"predict_method": "predict_proba"}}
    array = np.load(io.BytesIO(ask.post("/invocations", json=body, headers={"accept": "application/x-npy"}).content))
    assert array.tolist() == ask.post("/invocations", json=body).json()["predictions"]


BROKEN: dict[str, tuple[str, bytes]] = {
    "pickled objects": ("application/x-npy", npy(np.array([{}], dtype=object), allow_pickle=True)),
    "an array that is cut off": ("application/x-npy", npy(ROWS)[:-1]),
    "an array that says that it is huge": ("application/x-npy", npy(ROWS).replace(b"(2, 4)", b"(2, 9)")),
    "an array of three columns": ("application/x-npy", npy([[1.0, 2.0, 3.0]])),
    "no array": ("application/x-npy", b"\x93NUMPY"),
    "two rows on a line": ("application/jsonlines", b"[5.1,3.5,1.4,0.2],[6.7,3.0,5.2,2.3]"),
    "a line that is no JSON": ("application/jsonlines", b"[5.1,3.5,1.4,0.2]\nx"),
    "values where names were announced": ("text/csv; header=present", CSV.encode()),
    "names where none were announced": ("text/csv; header=absent", HEADED.encode()),
}


@pytest.mark.parametrize("form", list(BROKEN))
def test_a_malformed_table_is_400(ask: httpx.Client, form: str) -> None:
    """A malformed table gets 400; nothing is unpickled, and no declared length is trusted."""
    content_type, body = BROKEN[form]
    refused = ask.post("/invocations", content=body, headers={"content-type": content_type})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("content_type", ["text/csv; header=maybe", "text/csv; delimiter=tab", "text/tab-separated"])
def test_other_types_and_parameters_are_415(ask: httpx.Client, content_type: str) -> None:
    """Unsupported types get 415, as do unknown parameters, which may change the meaning of a body."""
    assert ask.post("/invocations", content=CSV, headers={"content-type": content_type}).status_code == 415
