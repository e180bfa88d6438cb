"""Files and DataFrames -> a plain table: the first step of training; ``learning`` makes a schema of what comes out.

A plain table has text column names, each once, and columns of dtype int64 (``Int64`` where values are missing), float64
(missing values are NaN), bool (``boolean`` where values are missing), text or category. Whatever else a file holds
(dates, nested values) is left for ``learning`` to refuse by name.
"""

from __future__ import annotations

import csv
import decimal
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from orris.atomic import write_atomically
from orris.errors import TableError
from orris.tables.csv_rows import MISSING

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_LINES = 200
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_NUMBER = r"^[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$"
_DECIMAL_COMMA = r"^[+-]?\d*,\d+([eE][+-]?\d+)?$"
_WHOLE_OR_DECIMAL_COMMA = r"^[+-]?(\d+|\d*,\d+)([eE][+-]?\d+)?$"
_THOUSANDS = r"^[+-]?[1-9]\d{0,2}(,\d{3})+$"
_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel or zip file; export it as CSV",
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"\x1f\x8b": "compressed with gzip; rename it to .csv.gz",
    b"\xd0\xcf\x11\xe0": "an old Excel file; export it as CSV",
    b"\xff\xfe": "encoded as UTF-16; save it as UTF-8, for example with  iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "encoded as UTF-16; save it as UTF-8, for example with  iconv -f UTF-16 -t UTF-8",
}


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a CSV file (``.csv``, ``.tsv``, ``.txt``, each also ``.gz``) or a Parquet file.

    The delimiter (comma, semicolon, tab or bar) is found out; so is a decimal comma where the delimiter is another. A
    first line of column names is required. Space around names and text values is cut off. ``schema.texts.MISSING``
    values become NaN.

    Returns:
        A plain table, see above, with at least one row.

    Raises:
        TableError: Names the file and, where there is one, the line and the column.
    """
    path = Path(path)
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    kind = suffixes[-2] if len(suffixes) == 2 and suffixes[-1] == ".gz" else (suffixes or [""])[-1]
    if kind not in (*_TEXT_SUFFIXES, *_PARQUET_SUFFIXES):
        raise TableError(
            f"{path}: '{kind or path.name}' is no table that Orris reads; give a CSV (.csv, .tsv, .txt, also .gz) or a"
            " .parquet file"
        )
    content = _content(path, compressed=suffixes[-1] == ".gz")
    if kind in _PARQUET_SUFFIXES:
        return from_frame(_read_parquet(path, content), str(path))
    return _read_text(path, content)


def write_iris(path: str | Path) -> None:
    """Write scikit-learn's iris table (150 rows, four measurements in cm and the species) atomically."""
    from sklearn.datasets import load_iris  # noqa: PLC0415 (slow to import, and rarely needed)

    iris = load_iris()
    lines = ["sepal_length,sepal_width,petal_length,petal_width,species"]
    for row, species in zip(iris.data.tolist(), iris.target, strict=True):
        lines.append(",".join([*map(repr, row), str(iris.target_names[species])]))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def from_frame(frame: pd.DataFrame, origin: str = "the DataFrame") -> pd.DataFrame:
    """A DataFrame from memory or Parquet as a plain table.

    Names are checked, rows are numbered from 0, object and nullable columns become plain.

    Raises: TableError: Names are not text, empty or repeated; there is no row or no column.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TableError(f"a pandas DataFrame is needed, not {type(frame).__name__}")
    if frame.columns.nlevels > 1:
        raise TableError(f"{origin}: column names of several levels; flatten them to one text name per column")
    for name in frame.columns:
        if not isinstance(name, str):
            raise TableError(
                f"{origin}: the column name {name!r} is not text; rename it, for example with  df.columns ="
                " df.columns.astype(str)"
            )
    _check_names(list(frame.columns), origin)
    if not len(frame):
        raise TableError(f"{origin}: there is no row in it")
    return pd.DataFrame({name: _plain(frame[name].reset_index(drop=True)) for name in frame.columns})


def _content(path: Path, *, compressed: bool) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise TableError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror})") from None
    if compressed:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise TableError(
                f"{path}: it is named .gz, but is no intact gzip file ({error}); fetch it again, or rename it"
            ) from None
    if not content.strip():
        raise TableError(f"{path}: the file is empty")
    return content


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        # Not through pandas: an index that pandas stored is a column like any other, or only numbers the rows.
        frame: pd.DataFrame = pyarrow.parquet.read_table(io.BytesIO(content)).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{path}: it cannot be read as Parquet ({error})") from None
    return frame.loc[:, [not str(name).startswith("__index_level_") for name in frame.columns]]


def _read_text(path: Path, content: bytes) -> pd.DataFrame:
    content = content.removeprefix(b"\xef\xbb\xbf")
    text = _text(path, content)
    delimiter, names = _header(path, text)
    table = _parse(path, content, delimiter, names)
    # Arrow closes an open quotation at the end of the file; all rows since would silently be one value.
    open_quote = _irregularity(text, delimiter, len(names)) if content.count(b'"') % 2 else None
    if open_quote:
        raise TableError(f"{path}: {open_quote}")
    if not table.num_rows:
        raise TableError(f"{path}: there is a line of column names, but no row below it")
    if delimiter != "," and _decimal_comma(path, table):
        table = _parse(path, content, delimiter, names, decimal_point=",")
    columns = {name: _series(table.column(i)) for i, name in enumerate(names)}
    return pd.DataFrame(columns)


def _text(path: Path, content: bytes) -> str:
    for magic, what in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise TableError(f"{path}: this is {what}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path}: line {line} is not UTF-8; if the file comes from Windows or Excel, convert it with  "
            f"iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
        ) from None
    if "\0" in text:
        raise TableError(
            f"{path}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds binary data; export the table as CSV"
            " in UTF-8"
        )
    return text


def _header(path: Path, text: str) -> tuple[str, list[str]]:
    """The delimiter and the column names."""
    lines = [line for line in text[:1_000_000].splitlines(keepends=True) if line.strip()][:_SNIFFED_LINES]
    best: tuple[float, int, str, list[str]] = (0.0, 1, ",", [lines[0].strip().strip('"')])
    for delimiter in _DELIMITERS:
        records = _records(lines, delimiter)
        width = len(records[0]) if records else 0
        if width > 1:
            regular = sum(len(record) == width for record in records) / len(records)
            best = max(best, (regular, width, delimiter, records[0]), key=lambda candidate: candidate[:2])
    _, width, delimiter, header = best
    names = [name.strip() for name in header]
    if width == 1 and len(names[0].split()) > 1 and all(len(line.split()) == len(names[0].split()) for line in lines):
        raise TableError(
            f"{path}: the values seem to be separated by spaces; separate them by commas, semicolons, tabs or bars"
        )
    numeric = [bool(re.match(_NUMBER, name)) for name in names]
    if all(numeric) or any(
        found and not name.lstrip("+-").isdigit() for found, name in zip(numeric, names, strict=True)
    ):
        raise TableError(
            f"{path}: line 1 holds values ('{names[numeric.index(True)]}'), not column names; put a line of names"
            " on top"
        )
    _check_names(names, f"{path}: line 1")
    return delimiter, names


def _records(lines: list[str], delimiter: str) -> list[list[str]]:
    try:
        records = [record for record in csv.reader(lines, delimiter=delimiter) if record]
    except csv.Error:
        return []
    # The last record may have been cut in the middle of a quoted field.
    return records[: max(2, len(records) - 1)]


def _check_names(names: Sequence[str], origin: str) -> None:
    if not names:
        raise TableError(f"{origin}: there is no column in it")
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name.strip():
            hint = "; was it written by pandas with its index? then use index=False" if position == 1 else ""
            raise TableError(f"{origin}: column {position} has no name; name or remove it{hint}")
        if name in seen:
            raise TableError(f"{origin}: the column name '{name}' is there twice; rename one of them")
        seen.add(name)


def _parse(path: Path, content: bytes, delimiter: str, names: list[str], decimal_point: str = ".") -> pa.Table:
    """The columns with the types that Arrow infers from all rows; dates and times stay text."""
    as_text: dict[str, Any] = {}
    while True:
        try:
            table = pyarrow.csv.read_csv(
                io.BytesIO(content),
                # One block: a type is then inferred from the whole column, and a long quoted value never crosses a
                # border.
                read_options=pyarrow.csv.ReadOptions(
                    use_threads=False,
                    column_names=names,
                    skip_rows_after_names=1,
                    block_size=min(len(content) + 1024, 2**31 - 1),
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    null_values=sorted(MISSING),
                    strings_can_be_null=True,
                    true_values=_TRUE,
                    false_values=_FALSE,
                    decimal_point=decimal_point,
                    column_types=as_text,
                ),
            )
        except pa.ArrowException as error:
            raise TableError(f"{path}: {_irregularity(content.decode(), delimiter, len(names)) or error}") from None
        temporal = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
        if not temporal:
            return table
        as_text |= temporal


def _irregularity(text: str, delimiter: str, width: int) -> str | None:
    """Which line is not like the header, read slowly because Arrow counts rows and not lines."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for record in lines:
            if record and len(record) != width:
                values = f"{len(record)} value{'s' * (len(record) != 1)}"
                return f"line {line} has {values}, but the header has {width} columns; complete or quote its values"
            line = lines.line_num + 1
    except csv.Error as error:
        return (
            f"line {line} has a quotation mark that is not closed or misplaced ({error}); quote whole values, and"
            " double the marks in them"
        )
    return None


def _decimal_comma(path: Path, table: pa.Table) -> bool:
    """Whether numbers are written with a decimal comma.

    That is so if a column consists of such numbers, and none of numbers with a point.
    """
    found, certain = "", False
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_floating(column.type):
            return False
        if not pa.types.is_string(column.type):
            continue
        values = pa.compute.utf8_trim_whitespace(column.drop_null()).unique()
        matches = pa.compute.match_substring_regex(values, _WHOLE_OR_DECIMAL_COMMA)
        if (
            len(values)
            and pa.compute.all(matches).as_py()
            and pa.compute.any(pa.compute.match_substring_regex(values, _DECIMAL_COMMA)).as_py()
        ):
            found = found or name
            commas = values.filter(pa.compute.match_substring(values, ","))
            certain = certain or not pa.compute.all(pa.compute.match_substring_regex(commas, _THOUSANDS)).as_py()
    if found and not certain:
        raise TableError(
            f"{path}: column '{found}': a comma may part thousands or be the decimal comma here; write the numbers with"
            " a decimal point"
        )
    return bool(found)


def _series(column: pa.ChunkedArray) -> pd.Series[Any]:
    if pa.types.is_string(column.type):
        column = pa.compute.utf8_trim_whitespace(column)
        gone = pa.compute.is_in(column, value_set=pa.array(sorted(MISSING)))
        column = pa.compute.if_else(gone, pa.scalar(None, pa.string()), column)
        tokens = {value.as_py() for value in column.unique()[:10]} - {None}
        if tokens and tokens <= {*_TRUE, *_FALSE}:
            column = (
                pa.compute.is_in(column, value_set=pa.array(_TRUE), skip_nulls=True)
                if not column.null_count
                else _nullable_flags(column)
            )
    if pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    return _plain(column.to_pandas(integer_object_nulls=True))


def _nullable_flags(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.compute.if_else(
        pa.compute.is_valid(column), pa.compute.is_in(column, value_set=pa.array(_TRUE)), pa.scalar(None, pa.bool_())
    )


def _plain(series: pd.Series[Any]) -> pd.Series[Any]:
    """The column with the dtype that a plain table has for what it holds; what fits none is left as it is."""
    holds = _holds(series)
    missing = bool(series.isna().any())
    if holds == "boolean":
        return series.astype("boolean" if missing else "bool")
    if holds == "integer":
        return series.astype("Int64" if missing else "int64")
    return series.astype(holds) if holds else series


def _holds(series: pd.Series[Any]) -> Literal["boolean", "integer", "float64", "str", ""]:
    """The kind of the column, by its dtype or, for object, by its values; empty: none of the known kinds."""
    dtype = series.dtype
    present: set[type] = set()
    if pd.api.types.is_object_dtype(dtype):
        present = {type(value) for value in series.dropna()}
    elif isinstance(dtype, pd.CategoricalDtype):
        return ""
    tests: tuple[tuple[Literal["boolean", "integer", "float64", "str"], bool, set[type]], ...] = (
        ("boolean", pd.api.types.is_bool_dtype(dtype), {bool}),
        ("integer", pd.api.types.is_integer_dtype(dtype), {int}),
        ("float64", pd.api.types.is_float_dtype(dtype), {int, float, decimal.Decimal}),
        ("str", pd.api.types.is_string_dtype(dtype), {str}),
    )
    if pd.api.types.is_object_dtype(dtype):
        # A column of nothing but missing values counts as numbers.
        return "float64" if not present else next((name for name, _, types in tests if present <= types), "")
    return next((name for name, of_this_dtype, _ in tests if of_this_dtype), "")
