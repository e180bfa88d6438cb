"""The last check before a bundle is published: raw training rows on every route, against the fitted pipeline.

The parity gate compares encoded rows, and so cannot see what the reading of a value has made of it. Here the reference
is the pipeline's answer to the caller's own rows, untouched, and each row takes the way that a request would take: as a
DataFrame or an array, a named JSON row, ``instances``, V2 tensors and CSV.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.compile.parity.reference import quiet
from orris.errors import OrrisError, ParityError, RowError
from orris.protocols.instances import InstanceRows
from orris.protocols.invocations import Invocations
from orris.protocols.named import NamedRows
from orris.protocols.openinference import OpenInference
from orris.protocols.tensors import column_datatype
from orris.runtime.scikit import scoring
from orris.schema import Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.checks import check
from orris.schema.frames import encode, is_missing
from orris.serving.engine import GOLDEN_TOLERANCE, SINGLE_TOLERANCE, Engine
from orris.tables.csv_rows import read_csv
from orris.tables.objects import as_rows
from orris.training.bundling import Given

MAX_ROWS = 2_000
"""Rows that are compared, spread evenly over all."""

N_SINGLE = 50
"""Of these, rows that are also sent alone."""

N_SORT = 20
"""Rows beside these of each sort of missing value (None, NaN), for each column that holds several."""

Read = Callable[[], FloatArray]


def compare(folder: Path, given: Given) -> dict[str, int]:
    """Send raw rows through every route, and compare each answer with the fitted pipeline's.

    Args:
        folder: A sealed bundle.
        given: The pipeline and the caller's rows.

    Returns:
        Rows compared, by route.

    Raises:
        ParityError: An answer differs, or a row is refused; names row, column and route.
    """
    table = as_rows(given.rows)
    n_rows = len(table)
    spread = np.linspace(0, n_rows - 1, min(n_rows, MAX_ROWS)).astype(np.int64)
    sorts = _sorts_of_missing(table)
    chosen = np.unique(np.concatenate([spread, *sorts.values()]))
    engine = Engine.load(folder, max_rows=max(len(chosen), 1))
    expected = _Expected(engine, given, _taken(given.rows if given.reference is None else given.reference, chosen))
    taken = _taken(table, chosen)
    values = _values(engine.schema, taken)
    compared: dict[str, int] = {}
    for name, read in _ways(engine, taken, values, _lines(given.file, chosen, n_rows)).items():
        try:
            compared[name] = expected.compare(name, read, chosen)
        except _DifferentAnswerError as error:
            raise _one_missing_value(sorts, error) or error from None
    return compared


class _DifferentAnswerError(ParityError):
    """A route answers raw rows otherwise than the fitted pipeline.

    Args:
        message: What is wrong.
        rows: The numbers of the rows in the caller's table.
    """

    def __init__(self, message: str, rows: npt.NDArray[np.int64]) -> None:
        super().__init__(message)
        self.rows = rows


def _one_missing_value(sorts: dict[str, npt.NDArray[np.int64]], error: _DifferentAnswerError) -> ParityError | None:
    """The error of a column that mixes None and NaN, if only rows with one of them are answered otherwise."""
    for name, rows in sorts.items():
        both = np.intersect1d(rows, error.rows)
        if len(both):
            return ParityError(
                f"column '{name}' holds both None and NaN. The fitted pipeline answers one otherwise than the other"
                f" (row {both[0]}), and a request has one missing value for both. Write all of them in one way before"
                f" you fit the pipeline: X['{name}'] = X['{name}'].where(X['{name}'].notna(), None)"
            )
    return None


class _Expected:
    """The fitted pipeline's answers to raw rows, and the served model's to the rows that a route has read."""

    def __init__(self, engine: Engine, given: Given, rows: Any) -> None:
        self._engine = engine
        self._first: FloatArray | None = None
        """The encoded rows of the first route, with which another route's are compared to name a column."""
        pipeline, schema = given.pipeline, engine.schema
        with quiet():
            try:
                predicted = np.asarray(pipeline.predict(rows))
            except Exception:  # noqa: BLE001 (a table of a library that scikit-learn does not take: it was fitted on another form)
                rows = as_rows(rows)
                predicted = np.asarray(pipeline.predict(rows))
            self.numbers: FloatArray | None = None
            if schema.task == "regression":
                self.numbers = np.asarray(predicted, dtype=np.float64).reshape(len(predicted), -1)
            elif engine.manifest.golden.probabilities:
                self.numbers = np.asarray(pipeline.predict_proba(rows), dtype=np.float64)
        # CatBoost answers several classes as a column.
        self.labels = None if schema.task == "regression" else predicted.reshape(len(predicted)).tolist()
        score = scoring(pipeline) if engine.has_scores else None
        with quiet():
            self.scores = None if score is None else score(rows)
        n_rows = len(predicted)
        self.answered: npt.NDArray[np.bool_] = np.ones(n_rows, dtype=np.bool_)
        if self.numbers is not None:
            self.answered = np.asarray(np.isfinite(self.numbers).all(axis=1))

    def compare(self, way: str, read: Read, chosen: npt.NDArray[np.int64]) -> int:
        """Compare the rows of one route; return how many rows were compared."""
        try:
            rows = read()
        except RowError as error:
            problem = error.problems[0]
            where = "" if problem.row is None or problem.row >= len(chosen) else f"row {chosen[problem.row]}, "
            raise ParityError(
                f"{way}: {where}column '{problem.column}': a training row is refused ({problem.problem})"
            ) from None
        except OrrisError as error:
            raise ParityError(f"{way}: the training rows are refused ({error})") from None
        if self._first is None:
            self._first = rows
        n_rows = len(rows)
        answered = self.answered[:n_rows]
        with quiet():
            found = self._engine.runtime.run(rows)
        wrong = ~self._equal(found.probabilities if found.values is None else found.values, n_rows)
        if self.labels is not None and found.labels is not None:
            labels = self._engine.schema.labels
            wrong |= np.array([labels[i] != self.labels[row] for row, i in enumerate(found.labels.tolist())])
        wrong |= ~self._scored(found.scores, n_rows)
        wrong &= answered
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise _DifferentAnswerError(
                f"{way}: {int(wrong.sum())} of {n_rows} training rows are answered otherwise than the fitted pipeline"
                f" answers the same raw rows, the first of them row {chosen[row]}{self._column(rows, row)}",
                chosen[:n_rows][wrong],
            )
        return int(answered.sum())

    def _equal(self, found: FloatArray | None, n_rows: int) -> npt.NDArray[np.bool_]:
        """Whether each row's numbers are within the gate's tolerance."""
        if self.numbers is None or found is None:
            return np.ones(n_rows, dtype=bool)
        expected, verdict = self.numbers[:n_rows], self._engine.manifest.verdict
        scale = np.maximum(1.0, np.abs(expected)) if self.labels is None else 1.0
        # Rows of another batch may be added up in another order; a value that was misread is further off.
        least = SINGLE_TOLERANCE if verdict.family == "single" else GOLDEN_TOLERANCE
        allowed = 0.0 if verdict.tolerance == 0 else max(verdict.tolerance, least) * scale
        with np.errstate(all="ignore"):
            close = np.abs(found.reshape(expected.shape) - expected) <= allowed
        return np.asarray(close.all(axis=1))

    def _scored(self, found: FloatArray | None, n_rows: int) -> npt.NDArray[np.bool_]:
        """Whether each row's score is within the gate's tolerance."""
        if self.scores is None or found is None:
            return np.ones(n_rows, dtype=bool)
        expected = self.scores[:n_rows]
        allowed = max(self._engine.manifest.verdict.tolerance, GOLDEN_TOLERANCE) * np.maximum(1.0, np.abs(expected))
        return np.asarray(np.abs(found - expected) <= allowed)

    def _column(self, rows: FloatArray, row: int) -> str:
        """The first column in which this route has read another value than the first route did; empty: none."""
        first = self._first
        if first is None or first.shape != rows.shape:
            return ""
        differs = ~((first[row] == rows[row]) | (np.isnan(first[row]) & np.isnan(rows[row])))
        names = [name for name, other in zip(self._engine.schema.names, differs, strict=True) if other]
        return f", column '{names[0]}'" if names else ""


def _ways(engine: Engine, table: Any, values: list[list[Any]], lines: bytes | None) -> dict[str, Read]:
    """Every route, by name, and how it reads the rows."""
    schema = engine.schema
    json_headers = {b"content-type": b"application/json"}

    def in_memory() -> FloatArray:
        rows = encode(schema, table)
        check(schema, rows)
        return rows

    def named() -> FloatArray:
        rows = [dict(zip(schema.names, row, strict=True)) for row in values]
        alone = [NamedRows().read(engine, _json(row), json_headers).rows for row in rows[:N_SINGLE]]
        together = NamedRows().read(engine, _json(rows), json_headers).rows
        _require_same("JSON", together[:N_SINGLE], np.concatenate(alone), schema)
        return together

    ways = {
        "DataFrame" if hasattr(table, "columns") else "array": in_memory,
        "JSON": named,
        "instances": lambda: InstanceRows().read(engine, _json({"instances": values}), json_headers).rows,
        "V2": lambda: OpenInference().read(engine, _json(_tensors(schema, values)), json_headers).rows,
        "CSV": lambda: Invocations().read(engine, _csv(schema, values), {b"content-type": b"text/csv"}).rows,
    }
    if lines is not None:
        ways["the file's own lines"] = lambda: read_csv(engine.reader, lines)
    return ways


def _require_same(way: str, rows: FloatArray, alone: FloatArray, schema: Schema) -> None:
    differs = ~((rows == alone) | (np.isnan(rows) & np.isnan(alone)))
    if differs.any():
        row, column = np.argwhere(differs)[0]
        raise ParityError(f"{way}: row {row}, column '{schema.names[column]}' is read otherwise alone than in a list")


def _values(schema: Schema, table: Any) -> list[list[Any]]:
    """The contract's values of each row, as a caller of the API would write them in JSON."""
    if hasattr(table, "columns"):
        columns = [table[name].tolist() for name in schema.names]
    else:
        order = schema.table or schema.names
        columns = [table[:, order.index(name)].tolist() for name in schema.names]
    plain = [
        [_plain(value, column.kind) for value in values] for column, values in zip(schema.columns, columns, strict=True)
    ]
    return [list(row) for row in zip(*plain, strict=True)]


def _plain(value: Any, kind: Kind) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if kind is Kind.BOOLEAN:
        return bool(value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value) if isinstance(value, str) else int(value)
    return int(value) if kind is Kind.CATEGORY and float(value).is_integer() else float(value)


def _tensors(schema: Schema, values: list[list[Any]]) -> dict[str, Any]:
    inputs = []
    for j, column in enumerate(schema.columns):
        data = [row[j] for row in values]
        datatype = column_datatype(column)
        if datatype == "INT64" and any(isinstance(value, float) for value in data):
            datatype = "FP64"
        inputs.append({"name": column.name, "shape": [len(data), 1], "datatype": datatype, "data": data})
    return {"inputs": inputs}


def _csv(schema: Schema, values: list[list[Any]]) -> bytes:
    """CSV as a careful caller writes it: text in quotation marks, nothing for a missing value."""
    lines = [",".join(map(_quoted, schema.names))]
    lines += [",".join(map(_cell, row)) for row in values]
    # A line of nothing but one missing value would be a blank line, and a column without a name is left out.
    end = ",\n" if schema.n_columns == 1 else "\n"
    return "".join(line + end for line in lines).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _sorts_of_missing(table: Any) -> dict[str, npt.NDArray[np.int64]]:
    """The first rows of None and of NaN in each column of objects that holds both, by name.

    scikit-learn takes them for different values, a schema does not, and a few of one among many rows would be missed
    by the rows that are spread evenly.
    """
    import pandas as pd  # noqa: PLC0415 (imported by then if there is a table of it)

    if hasattr(table, "iloc"):
        kinds = [dtype.kind for dtype in table.dtypes]
        columns = {str(table.columns[j]): table.iloc[:, j] for j, kind in enumerate(kinds) if kind == "O"}
    else:
        columns = {f"x{j}": table[:, j] for j in range(table.shape[1])} if table.dtype.kind == "O" else {}
    found: dict[str, npt.NDArray[np.int64]] = {}
    for name, values in columns.items():
        if isinstance(values.dtype, np.dtype):
            missing = np.flatnonzero(pd.isna(np.asarray(values)))
            sorts = np.array([type(value).__name__ for value in np.asarray(values)[missing]])
            different = np.unique(sorts)
            if len(different) > 1:
                found[name] = np.concatenate([missing[sorts == sort][:N_SORT] for sort in different])
    return found


def _taken(rows: Any, chosen: npt.NDArray[np.int64]) -> Any:
    """The chosen rows of a caller's object, in its own type."""
    if hasattr(rows, "iloc"):
        return rows.iloc[chosen]
    if isinstance(rows, list | tuple):
        return [rows[i] for i in chosen]
    if isinstance(rows, dict):
        return {name: [values[i] for i in chosen] for name, values in rows.items()}
    if hasattr(rows, "take") and hasattr(rows, "schema") and not hasattr(rows, "with_columns"):  # pyarrow
        return rows.take(chosen)
    return rows[chosen]


def _lines(file: Path | None, chosen: npt.NDArray[np.int64], n_rows: int) -> bytes | None:
    """The chosen lines of the training file itself; ``None`` if it has none, or not one for each row that was read."""
    if file is None or file.suffix not in {".csv", ".tsv", ".txt"}:
        return None
    try:
        lines = [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return None
    if len(lines) != n_rows + 1:
        return None
    return ("\n".join([lines[0], *(lines[1 + i] for i in chosen)]) + "\n").encode()
