"""Random raw tables and pipelines: every route answers a raw row as scikit-learn does, or both refuse it."""

from __future__ import annotations

import csv
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings

import orris
from orris.api import Model
from orris.compile.parity import rows as adversary
from orris.errors import CompileError, RowError
from orris.protocols.instances import InstanceRows
from orris.protocols.invocations import Invocations
from orris.protocols.named import NamedRows
from orris.protocols.openinference import OpenInference
from orris.schema import Column
from orris.schema.arrays import FloatArray
from orris.training.report import plots
from tests.raw_frames import Drawn, drawn

N_EXAMPLES = int(os.environ.get("ORRIS_TEST_RAW_EXAMPLES", "12"))
JSON = {b"content-type": b"application/json"}


class Answer(NamedTuple):
    """The answer to one row.

    Attributes:
        label: Classification: the label.
        numbers: The probabilities, or the value.
    """

    label: Any
    numbers: FloatArray


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report's drawings and most of the gate's rows, which say nothing about how raw rows are read."""
    monkeypatch.setattr(plots, "draw", lambda *_: {})
    monkeypatch.setattr(adversary, "MIN_ROWS", 500)
    monkeypatch.setattr(adversary, "MAX_ROWS", 100)


@given(example=drawn())
@settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # an example takes a second, so that shrinking it would take many minutes
    suppress_health_check=list(HealthCheck),
)
def test_every_way_in_answers_raw_rows_as_scikit_learn_does(example: Drawn) -> None:
    """Training rows, and later rows with gaps, unseen levels and other numbers, each sent alone."""
    note(f"{example.kinds}")
    note(f"{example.pipeline!r}")
    pipeline = _fitted(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bundle = orris.package(pipeline, example.X, example.y, name="m", store=None, target="the answer")
        except CompileError as error:
            # Of float32 rows scikit-learn itself is served, and not every estimator can be read back safely.
            assume("read back safely" not in str(error))
            raise
        model = orris.load(bundle)
        exact = bundle.verdict.tolerance == 0
        for row in [*_rows(example.X, 4), *example.later]:
            expected = _by_scikit_learn(pipeline, row)
            for way, answer in _by_every_way(model, row):
                assert _agree(answer, expected, exact=exact), (
                    f"{way}: {answer}, and scikit-learn: {expected}; {_values(model, row)}"
                )


def _fitted(example: Drawn) -> Any:
    """The fitted pipeline; what scikit-learn does not fit is no example."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fitted = example.pipeline.fit(example.X, example.y)
            fitted.predict(example.X)
        except (ValueError, TypeError) as error:
            note(str(error))
            assume(False)
    return fitted


def _rows(X: Any, n: int) -> list[Any]:
    return [X.iloc[[i]] if hasattr(X, "iloc") else X[[i]] for i in range(n)]


def _by_scikit_learn(pipeline: Any, row: Any) -> Answer | None:
    """The fitted pipeline's answer to a raw row; ``None`` if it has none."""
    try:
        label = np.asarray(pipeline.predict(row))[0]
        if not hasattr(pipeline, "predict_proba"):
            return Answer(None, np.array([label])) if np.isfinite(label) else None
        return Answer(label, pipeline.predict_proba(row)[0])
    except (ValueError, TypeError):
        return None


def _by_every_way(model: Model, row: Any) -> Iterator[tuple[str, Answer | None]]:
    """Return the answer on each route; ``None`` where the row is refused."""
    values = _values(model, row)
    names = model.schema.names
    body = json.dumps(dict(zip(names, values, strict=True))).encode()
    listed = json.dumps({"instances": [values]}).encode()
    ways: dict[str, Callable[[], FloatArray]] = {
        "JSON": lambda: NamedRows().read(model.engine, body, JSON).rows,
        "instances": lambda: InstanceRows().read(model.engine, listed, JSON).rows,
        "V2": lambda: OpenInference().read(model.engine, json.dumps(_tensors(names, values)).encode(), JSON).rows,
        "CSV": lambda: Invocations().read(model.engine, _csv(names, values), {b"content-type": b"text/csv"}).rows,
    }
    columns = list(zip(model.schema.columns, values, strict=True))
    if any(value is None and "" in column.levels and not _had_missing(column) for column, value in columns):
        del ways["CSV"]  # an empty value is the level there
    if any(value == "" and "" not in column.levels for column, value in columns):
        del ways["V2"]  # an empty text is a missing value there
    elif all(value is not None for value in values):
        ways["V2 binary"] = lambda: OpenInference().read(model.engine, *_binary(names, values)).rows
    yield "orris.load", _in_python(model, row)
    yield "orris.load (dict)", _in_python(model, dict(zip(names, values, strict=True)))
    for way, read in ways.items():
        try:
            answers = model.engine.run(read())
        except RowError:
            yield way, None
            continue
        if answers.values is not None:
            yield way, Answer(None, answers.values)
        elif answers.labels is not None and answers.probabilities is not None:
            yield way, Answer(model.schema.labels[answers.labels[0]], answers.probabilities[0])


def _had_missing(column: Column) -> bool:
    return column.missing and column.seen_missing


def _in_python(model: Model, row: Any) -> Answer | None:
    try:
        predicted = model.predict(row)
        return Answer(predicted[0], model.predict_proba(row)[0]) if model.schema.labels else Answer(None, predicted)
    except RowError:
        return None


def _values(model: Model, row: Any) -> list[Any]:
    """A row as JSON has it, in the order of the contract."""
    if hasattr(row, "iloc"):
        found = [row[name].tolist()[0] for name in model.schema.names]
    else:
        found = [row[0].tolist()[int(name[1:])] for name in model.schema.names]
    return [_plain(value) for value in found]


def _plain(value: Any) -> Any:
    if value is None or type(value).__name__ == "NAType" or value != value:  # noqa: PLR0124 (NaN)
        return None
    return value.item() if isinstance(value, np.generic) else value


def _datatype(value: Any) -> str:
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(type(value), "BYTES")


def _tensors(names: tuple[str, ...], values: list[Any]) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": _datatype(value), "data": [value]}
            for name, value in zip(names, values, strict=True)
        ]
    }


def _binary(names: tuple[str, ...], values: list[Any]) -> tuple[bytes, dict[bytes, bytes]]:
    """The request in Triton's binary extension, with its headers."""
    parts, inputs = [], []
    for name, value in zip(names, values, strict=True):
        dtypes = {"BOOL": "?", "INT64": "<i8", "FP64": "<f8"}
        datatype = _datatype(value)
        if datatype == "BYTES":
            raw = value.encode()
            raw = len(raw).to_bytes(4, "little") + raw
        else:
            raw = np.array([value], dtype=dtypes[datatype]).tobytes()
        parts.append(raw)
        size = {"binary_data_size": len(raw)}
        inputs.append({"name": name, "shape": [1], "datatype": datatype, "parameters": size})
    head = json.dumps({"inputs": inputs}).encode()
    return head + b"".join(parts), {b"inference-header-content-length": str(len(head)).encode()}


def _csv(names: tuple[str, ...], values: list[Any]) -> bytes:
    """CSV by Python's writer: names and texts in quotation marks, nothing for a missing value."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(names)
    cells = ['"' + value.replace('"', '""') + '"' if isinstance(value, str) else _cell(value) for value in values]
    # A line of nothing is no row, so a lone value has a column without a name beside it.
    end = ",\r\n" if len(cells) == 1 else "\r\n"
    return (text.getvalue().removesuffix("\r\n") + end + ",".join(cells) + end).encode()


def _cell(value: Any) -> str:
    return "" if value is None else json.dumps(value)


def _agree(answer: Answer | None, expected: Answer | None, *, exact: bool) -> bool:
    if answer is None or expected is None:
        return answer is expected
    if exact:
        return bool(np.array_equal(answer.numbers, expected.numbers)) and answer.label == expected.label
    if not np.allclose(answer.numbers, expected.numbers, rtol=1e-9, atol=1e-9):
        return False
    # Where two labels are as likely as each other, rounding decides.
    tied = len(expected.numbers) > 1 and np.ptp(np.sort(expected.numbers)[-2:]) < 1e-9
    return bool(answer.label == expected.label or tied)
