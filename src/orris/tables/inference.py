"""A column of text -> a column of numbers, booleans or text, and what is to be said about its values.

Called by ``files`` for each column of a CSV file, which Arrow has read as text alone: so a declared kind comes before
any guess, and what a guess makes of a value can be named with its row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from orris.tables.csv_rows import MISSING
from orris.tables.rules import Notice, ReadOptions

TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")

PLACEHOLDERS = frozenset(
    [
        "n/a",
        "N/a",
        "na",
        "Na",
        "NONE",
        "None",
        "none",
        "nil",
        "#N/A",
        "#NA",
        "#VALUE!",
        "#DIV/0!",
        "#REF!",
        "<NA>",
        "NAN",
        "?",
        "??",
        "-",
        "--",
        "–",
        ".",
        "..",
        "missing",
        "unknown",
    ]
)
"""Texts that stand for a missing value among numbers, beside ``MISSING``. Among text they may be levels, and stay."""

MAX_STRAY_SHARE = 0.01
MAX_STRAYS = 10
"""So few different other texts among numbers are taken as typing errors, if they are so rare."""

_MIN_NUMBERS = 10
_WHOLE = re.compile(r"[+-]?\d+")
_CANONICAL = re.compile(r"0|-?[1-9]\d*")
_LEADING_ZERO = re.compile(r"[+-]?0\d+")
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(?i:inf|infinity)")
_COMMA = re.compile(r"[+-]?(\d+,?\d*|,\d+)([eE][+-]?\d+)?|[+-]?(?i:inf|infinity)")
_WITH_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_WITH_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?P<mark>[,.'’ \u00a0\u202f_])\d{3}((?P=mark)\d{3})*([.,]\d+)?")
_SIGNS = "$€£¥₹"
_GROUPED = r"[+-]?\d[\d.,'’ \u00a0\u202f]*"
_CURRENCY = re.compile(rf"[+-]?\s?[{_SIGNS}]\s?{_GROUPED}|{_GROUPED}(?:[{_SIGNS}]|EUR|USD|GBP|CHF|JPY)")
_PERCENT = re.compile(r"[+-]?\d[\d.,]*\s?%")
_NEGATIVE = re.compile(r"[\u2212\u2013]\s?\d[\d.,]*|\(\d[\d.,]*\)|\d[\d.,]*-")
"""With a minus sign of typesetting, in parentheses or with the sign behind, as accounts are written."""
_SIGNED = {
    _CURRENCY: "a currency sign; take the signs out of the table",
    _PERCENT: "a per cent sign; take the signs out of the table",
    _NEGATIVE: "negative numbers; write them with '-' before the number",
}
"""Advice on numbers beside which something else stands."""

_WRITINGS = (_WITH_COMMA, _WITH_POINT, _THOUSANDS, _CURRENCY, _PERCENT, _NEGATIVE)
_MAX_FEW_LEVELS = 20


@dataclass(frozen=True, eq=False)
class Inferred:
    """The result of the inference for a column.

    Attributes:
        values: The column: int64, float64, bool or string, with nulls where values are missing.
        notices: What is to be said about it.
        problem: Why it cannot be used, with what to do; empty: it can.
        missing: Texts that were taken as missing values.
    """

    values: pa.Array
    notices: tuple[Notice, ...] = ()
    problem: str = ""
    missing: frozenset[str] = frozenset()


@dataclass(eq=False)
class _Column:
    """A column of trimmed text: its different values, and which of them is in which row."""

    name: str
    text: pa.Array
    values: list[str] = field(init=False)
    codes: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        encoded = self.text.dictionary_encode()
        self.values = encoded.dictionary.to_pylist()
        self.codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)

    def n_rows(self, values: Sequence[str]) -> int:
        """Rows that hold one of the values."""
        return int(np.isin(self.codes, [self.values.index(value) for value in values]).sum())

    def named(self, values: Sequence[str], most: int = 3) -> str:
        """``'?' (row 3, row 17 and 4 more), 'abc' (row 20)``: values with their rows, counted from 0."""
        shown = []
        for value in values[:most]:
            rows = np.flatnonzero(self.codes == self.values.index(value))
            more = f" and {len(rows) - 2} more" if len(rows) > 2 else ""
            shown.append(f"'{value[:40]}' ({', '.join(f'row {row}' for row in rows[:2])}{more})")
        return ", ".join(shown) + (f" and {len(values) - most} other texts" if len(values) > most else "")


def trimmed(text: pa.Array) -> pa.Array:
    """Text without the space around it; missing where nothing is left, or where space stood around a missing value."""
    found = pc.utf8_trim_whitespace(text)
    spaced = pc.and_(pc.not_equal(found, text), pc.is_in(found, value_set=pa.array(sorted(MISSING))))
    return pc.if_else(pc.or_(spaced, pc.equal(found, "")), pa.scalar(None, pa.string()), found)


def decimal_mark(columns: Sequence[pa.Array]) -> str:
    """The decimal mark of a table whose delimiter is not a comma.

    A comma if some column is made of such numbers, none of numbers with a point, and the comma cannot part thousands.
    """
    certain = False
    for column in columns:
        values = [value for value in column.unique().to_pylist() if value is not None and value not in PLACEHOLDERS]
        if not values:
            continue
        if all(map(_POINT.fullmatch, values)) and any("." in value for value in values):
            return "."
        if all(map(_COMMA.fullmatch, values)):
            commas = [value for value in values if _WITH_COMMA.fullmatch(value)]
            certain = certain or any(not _THOUSANDS.fullmatch(value) for value in commas)
    return "," if certain else "."


def infer(name: str, text: pa.Array, decimal: str, options: ReadOptions, *, declared: bool) -> Inferred:
    """Find out what a column holds.

    Args:
        name: The column's name.
        text: Its values as ``trimmed`` returns them, string ``(n_rows,)``.
        decimal: The decimal mark.
        options: What the user declared about the table.
        declared: Whether the user declared the column a category.
    """
    column = _Column(name, text)
    if declared:
        return Inferred(_declared(column))
    present = [value for value in column.values if value not in MISSING]
    if present and set(present) <= {*TRUE, *FALSE}:
        return Inferred(_booleans(column))
    number = _COMMA if decimal == "," else _POINT
    numbers = [value for value in present if number.fullmatch(_ungrouped(value, decimal, options))]
    if present and not numbers:
        return _no_numbers(column, present, options)
    marks = [value for value in present if value in PLACEHOLDERS]
    others = [value for value in present if value not in PLACEHOLDERS and value not in set(numbers)]
    if others and not _are_strays(column, numbers, others):
        return _text_among_numbers(column, numbers, others, options)
    if not others and _is_code(column, numbers):
        shown = column.named([value for value in numbers if _LEADING_ZERO.fullmatch(value)], most=1)
        told = Notice(name, f"holds digits with leading zeros, such as {shown}: it is taken as text, so 01 is not 1")
        return Inferred(column.text, (told,))
    return _numeric(column, [*marks, *others], decimal, options)


def _declared(column: _Column) -> pa.Array:
    """Whole numbers in their plain form stay numbers; whatever two spellings of one number would be is text."""
    if column.values and all(map(_CANONICAL.fullmatch, column.values)):
        return _whole(column.text)
    plain = all(_POINT.fullmatch(value) for value in column.values)
    if column.values and plain and not all(map(_WHOLE.fullmatch, column.values)):
        return pc.cast(column.text, pa.float64())
    return column.text


def _booleans(column: _Column) -> pa.Array:
    missing = pc.is_in(column.text, value_set=pa.array(sorted(MISSING)))
    found = pc.is_in(column.text, value_set=pa.array(TRUE))
    return pc.if_else(pc.or_(pc.is_null(column.text), missing), pa.scalar(None, pa.bool_()), found)


def _ungrouped(value: str, decimal: str, options: ReadOptions) -> str:
    """A value without the separators of its thousands, if they stand where thousands are separated."""
    mark = options.thousands
    if not mark or mark not in value:
        return value
    grouped = rf"[+-]?\d{{1,3}}({re.escape(mark)}\d{{3}})+({re.escape(decimal)}\d*)?"
    return value.replace(mark, "") if re.fullmatch(grouped, value) else value


def _are_strays(column: _Column, numbers: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the other texts are few enough, among numbers that are no levels themselves, to be typing errors."""
    n_numbers, n_others = column.n_rows(numbers), column.n_rows(others)
    varied = len(numbers) > _MAX_FEW_LEVELS or 2 * len(numbers) >= n_numbers
    rare = n_others <= max(1, MAX_STRAY_SHARE * (n_numbers + n_others)) and len(others) <= MAX_STRAYS
    return n_numbers >= _MIN_NUMBERS and varied and rare and not any(map(_decorated, others))


def _is_code(column: _Column, numbers: Sequence[str]) -> bool:
    """Whether digits with leading zeros are codes, such as postcodes, rather than one odd number."""
    zeros = [value for value in numbers if _LEADING_ZERO.fullmatch(value)]
    if not zeros or not all(map(_WHOLE.fullmatch, numbers)):
        return False
    same_length = len({len(value) for value in numbers}) == 1
    return same_length or column.n_rows(zeros) >= MAX_STRAY_SHARE * column.n_rows(numbers)


def _numeric(column: _Column, missing: Sequence[str], decimal: str, options: ReadOptions) -> Inferred:
    """The column as numbers; ``missing`` are the texts that become missing values."""
    gone = pa.array(sorted({*missing, *MISSING}), pa.string())
    text = pc.if_else(pc.is_in(column.text, value_set=gone), pa.scalar(None, pa.string()), column.text)
    if options.thousands:
        plain = {value: _ungrouped(value, decimal, options) for value in column.values}
        text = pa.array([None if value is None else plain[value] for value in text.to_pylist()], pa.string())
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    text = pc.replace_substring_regex(text, r"^\+", "")
    whole = all(_WHOLE.fullmatch(value) for value in text.unique().drop_null().to_pylist())
    values = _whole(text) if whole and text.null_count < len(text) else pc.cast(text, pa.float64())
    if not missing:
        return Inferred(values)
    said = f"holds numbers and {column.named(missing)}, which"
    if options.strict:
        return Inferred(values, problem=f"{said} --strict refuses; correct them, or leave them empty")
    return Inferred(values, (Notice(column.name, f"{said} are taken as missing values"),), "", frozenset(missing))


def _whole(text: pa.Array) -> pa.Array:
    try:
        return pc.cast(text, pa.int64())
    except pa.ArrowInvalid:  # beyond 64 bits
        return pc.cast(text, pa.float64())


def _no_numbers(column: _Column, present: Sequence[str], options: ReadOptions) -> Inferred:
    """Text, or numbers that are all written in a way that has to be declared."""
    decorated = [value for value in present if _decorated(value)]
    if len(decorated) == len([value for value in present if value not in PLACEHOLDERS]) > 0:
        return _undeclared(column, decorated, options)
    return Inferred(column.text)


def _text_among_numbers(
    column: _Column, numbers: Sequence[str], others: Sequence[str], options: ReadOptions
) -> Inferred:
    """Text, some of which looks like numbers; or numbers some of which are written in a way that has to be declared."""
    decorated = [value for value in others if _decorated(value)]
    n_readable = column.n_rows(numbers) + column.n_rows(decorated)
    n_present = column.n_rows(numbers) + column.n_rows(others)
    if decorated and n_readable >= (1 - MAX_STRAY_SHARE) * n_present:
        return _undeclared(column, decorated, options)
    return Inferred(column.text)


def _undeclared(column: _Column, decorated: Sequence[str], options: ReadOptions) -> Inferred:
    """Numbers in a writing that is not guessed at; a few that come again and again may be levels, such as discounts."""
    advice = _advice(decorated, options)
    said = f"holds numbers in a writing that is not read by itself, such as {column.named(decorated, most=2)}: {advice}"
    if len(column.values) <= _MAX_FEW_LEVELS and len(column.text) >= 5 * len(column.values) and not options.strict:
        return Inferred(column.text, (Notice(column.name, f"{said}. It is taken as a category of text"),))
    return Inferred(column.text, problem=f"{said}. Or leave the column out (--drop {column.name})")


def _decorated(value: str) -> bool:
    return any(pattern.fullmatch(value) for pattern in _WRITINGS)


def _advice(values: Sequence[str], options: ReadOptions) -> str:
    """The finding, and the option that reads it."""
    for pattern, advice in _SIGNED.items():
        if any(map(pattern.fullmatch, values)):
            return advice + _grouping_advice(values) * (pattern is _CURRENCY)
    if all(map(_WITH_POINT.fullmatch, values)):
        return "a decimal point, where the table's decimal mark is a comma; write all numbers alike"
    commas = [value for value in values if "," in value]
    if commas and all("." not in value and value.count(",") == 1 for value in commas) and not options.decimal:
        if all(map(_THOUSANDS.fullmatch, commas)):
            return (
                "the comma may part thousands or be the decimal mark; say which, with  --thousands ','  or  --decimal"
                " ','"
            )
        return "a decimal comma; read it with  --decimal ','  (all columns then have to be written so)"
    return "thousands separators" + _grouping_advice(values)


def _grouping_advice(values: Sequence[str]) -> str:
    for value in values:
        found = re.search(r"\d([,.'’ \u00a0\u202f_])\d{3}(?!\d)", value)
        if found:
            quote = '"' if found.group(1) == "'" else "'"
            return f"; read thousands separators with  --thousands {quote}{found.group(1)}{quote}"
    return ""
