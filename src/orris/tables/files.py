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
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from orris.atomic import write_atomically
from orris.errors import TableError
from orris.tables.csv_rows import MISSING
from orris.tables.inference import decimal_mark, infer, trimmed
from orris.tables.rules import Notice, ReadOptions, Rules, resolve_names

_DELIMITERS = (",", ";", "\t", "|")
_SNIFFED_LINES = 200
_TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_NUMBER = r"^[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$"
_MAX_LINES_NAMED = 10
_OTHER_FORMATS = {
    b"PK\x03\x04": "an Excel or zip file; export it as CSV",
    b"PAR1": "a Parquet file; rename it to .parquet",
    b"\x1f\x8b": "compressed with gzip; rename it to .csv.gz",
    b"\xd0\xcf\x11\xe0": "an old Excel file; export it as CSV",
    b"\xff\xfe": "encoded as UTF-16; save it as UTF-8, for example with  iconv -f UTF-16 -t UTF-8",
    b"\xfe\xff": "encoded as UTF-16; save it as UTF-8, for example with  iconv -f UTF-16 -t UTF-8",
}


@dataclass(frozen=True, eq=False)
class Table:
    """A table that was read.

    Attributes:
        frame: A plain table, see above, with at least one row.
        rules: How text became values.
        notices: What is to be said about the values.
    """

    frame: pd.DataFrame
    rules: Rules = field(default_factory=Rules)
    notices: tuple[Notice, ...] = ()


def read_table(path: str | Path) -> pd.DataFrame:
    """``read`` without options, and without the rules and the notices."""
    return read(path).frame


def read(path: str | Path, options: ReadOptions | None = None) -> Table:
    """Read a CSV file (``.csv``, ``.tsv``, ``.txt``, each also ``.gz``) or a Parquet file.

    The delimiter (comma, semicolon, tab or bar) is found out; so is a decimal comma where the delimiter is another. A
    first line of column names is required. Space around names and text values is cut off. An empty value and an
    unquoted one of ``csv_rows.MISSING`` are missing; among numbers, other texts may be, with a notice (``inference``).

    Args:
        path: A file, or a URL that fsspec reads, such as ``s3://bucket/table.csv``.
        options: What the user declared.

    Raises:
        TableError: Names the file and, where there is one, the line and the column; all columns that cannot be used, or
            the first ten lines.
    """
    options = options or ReadOptions()
    suffixes = [suffix.lower() for suffix in PurePosixPath(str(path)).suffixes[-2:]]
    kind = suffixes[-2] if len(suffixes) == 2 and suffixes[-1] == ".gz" else (suffixes or [""])[-1]
    if kind not in (*_TEXT_SUFFIXES, *_PARQUET_SUFFIXES):
        raise TableError(
            f"{path}: '{kind or Path(path).name}' is no table that Orris reads; give a CSV (.csv, .tsv, .txt, also .gz)"
            " or a .parquet file"
        )
    content = _content(str(path), compressed=suffixes[-1] == ".gz")
    if kind in _PARQUET_SUFFIXES:
        return Table(from_frame(_read_parquet(path, content), str(path)))
    return _read_text(path, content, options)


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


def _content(path: str, *, compressed: bool) -> bytes:
    content = _fetched(path) if "://" in path else _local(path)
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


def _local(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise TableError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror})") from None


def _fetched(url: str) -> bytes:
    """The content of a URL, through fsspec."""
    import fsspec  # noqa: PLC0415 (0.1 s that local tables need not spend)

    scheme = url.partition("://")[0]
    if scheme not in fsspec.available_protocols():
        raise TableError(
            f"{url}: tables are not read from {scheme}://; give a file, or a URL such as s3://bucket/t.csv"
        )
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read()
            return content
    except ImportError as error:
        raise TableError(f"{url}: {scheme}:// needs a library that is not installed ({error})") from None
    except FileNotFoundError:
        raise TableError(f"{url}: there is no such file") from None
    except Exception as error:  # noqa: BLE001 (each file system has errors of its own)
        raise TableError(f"{url}: it cannot be read ({type(error).__name__}: {error})") from None


def _read_parquet(path: str | Path, content: bytes) -> pd.DataFrame:
    try:
        # Not through pandas: an index that pandas stored is a column like any other, or only numbers the rows.
        frame: pd.DataFrame = pyarrow.parquet.read_table(io.BytesIO(content)).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise TableError(f"{path}: it cannot be read as Parquet ({error})") from None
    return frame.loc[:, [not str(name).startswith("__index_level_") for name in frame.columns]]


def _read_text(path: str | Path, content: bytes, options: ReadOptions) -> Table:
    content = content.removeprefix(b"\xef\xbb\xbf")
    text = _text(path, content)
    delimiter, names = _header(path, text)
    categorical = resolve_names(options.categorical, names, "--categorical")
    dropped = resolve_names(options.drop, names, "--drop")
    table, n_skipped = _parse(path, content, delimiter, names, skip_bad_lines=options.skip_bad_lines)
    # Arrow closes an open quotation at the end of the file; all rows since would silently be one value.
    irregular = _irregularities(text, delimiter, len(names)) if n_skipped or content.count(b'"') % 2 else []
    if irregular and not n_skipped:
        raise TableError(f"{path}: {'; '.join(irregular)}")
    if not table.num_rows:
        raise TableError(f"{path}: there is a line of column names, but no row below it")
    texts = [trimmed(table.column(i).combine_chunks()) for i in range(len(names))]
    decimal = options.decimal or ("." if delimiter == "," else decimal_mark(texts))
    notices = [Notice("", _skipped(n_skipped, irregular))] if n_skipped else []
    columns, problems = {}, []
    missing: set[str] = set()
    for name, column in zip(names, texts, strict=True):
        if name in dropped:
            columns[name] = _series(column)
            continue
        found = infer(name, column, decimal, options, declared=name in categorical)
        columns[name] = _series(found.values)
        notices += found.notices
        missing |= found.missing
        problems += [f"column '{name}' {found.problem}"] if found.problem else []
    if problems:
        raise TableError(f"{path}: " + "\n".join(problems))
    rules = Rules(True, tuple(sorted(MISSING)), tuple(sorted(missing)), decimal, options.thousands, delimiter)
    return Table(pd.DataFrame(columns), rules, tuple(notices))


def _skipped(n_skipped: int, irregular: Sequence[str]) -> str:
    lines = "1 line is" if n_skipped == 1 else f"{n_skipped:,} lines are"
    return f"{lines} left out, with too few or too many values: {'; '.join(irregular)}"


def _text(path: str | Path, content: bytes) -> str:
    for magic, what in _OTHER_FORMATS.items():
        if content.startswith(magic):
            raise TableError(f"{path}: this is {what}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(
            f"{path}: line {line} is not UTF-8; if the file comes from Windows or Excel, convert it with  "
            f"iconv -f WINDOWS-1252 -t UTF-8 {PurePosixPath(str(path)).name}"
        ) from None
    if "\0" in text:
        raise TableError(
            f"{path}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} holds binary data; export the table as CSV"
            " in UTF-8"
        )
    return text


def _header(path: str | Path, text: str) -> tuple[str, list[str]]:
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


def _parse(
    path: str | Path, content: bytes, delimiter: str, names: list[str], *, skip_bad_lines: bool
) -> tuple[pa.Table, int]:
    """The columns as text, null where a value is missing and was not quoted; and how many lines were left out."""
    n_skipped = 0

    def skip(_: Any) -> str:
        nonlocal n_skipped
        n_skipped += 1
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(content),
            # One block: a long quoted value never crosses a border.
            read_options=pyarrow.csv.ReadOptions(
                use_threads=False,
                column_names=names,
                skip_rows_after_names=1,
                block_size=min(len(content) + 1024, 2**31 - 1),
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=skip if skip_bad_lines else None
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                null_values=sorted(MISSING),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                column_types=dict.fromkeys(names, pa.string()),
            ),
        )
    except pa.ArrowException as error:
        found = _irregularities(content.decode(), delimiter, len(names))
        raise TableError(f"{path}: {'; '.join(found) or error}" + _advice(found)) from None
    return table, n_skipped


def _advice(irregular: Sequence[str]) -> str:
    if not any("value" in line for line in irregular):
        return ""
    return "; complete or quote their values, or leave such lines out with  --skip-bad-lines"


def _irregularities(text: str, delimiter: str, width: int) -> list[str]:
    """The first lines that are not like the header, read slowly because Arrow counts rows and not lines."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    found: list[str] = []
    try:
        for record in lines:
            if record and len(record) != width:
                values = f"{len(record)} value{'s' * (len(record) != 1)}"
                found.append(
                    f"line {line} has {values}, but the header has {width} columns"
                    if not found
                    else f"line {line} has {values}"
                )
            if len(found) == _MAX_LINES_NAMED:
                break
            line = lines.line_num + 1
    except csv.Error as error:
        found.append(
            f"line {line} has a quotation mark that is not closed or misplaced ({error}); quote whole values, and"
            " double the marks in them"
        )
    return found


def _series(column: pa.Array) -> pd.Series[Any]:
    if pa.types.is_null(column.type) or column.null_count == len(column):
        column = pa.nulls(len(column), pa.float64())
    return _plain(column.to_pandas(integer_object_nulls=True))


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
