"""Tests of the kind of a column of text: declared kinds, codes, stray words, numbers in unusual writings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from orris.tables.inference import Inferred, infer, trimmed
from orris.tables.rules import ReadOptions

NUMBERS = [str(i * 7 % 3001) for i in range(1, 3000)]


def column(
    values: Sequence[str | None], *, declared: bool = False, decimal: str = ".", **options: Any
) -> tuple[Inferred, list[Any]]:
    """Return the inferred column named ``size``, and its values."""
    text = trimmed(pa.array(values, pa.string()))
    found = infer("size", text, decimal, ReadOptions(**options), declared=declared)
    return found, found.values.to_pylist()


def test_a_declared_category_keeps_spellings_apart() -> None:
    """01, 1 and 002 are three levels of a declared category."""
    assert column(["01", "1", "002"], declared=True)[1] == ["01", "1", "002"]


def test_a_declared_category_of_plain_whole_numbers_stays_whole_numbers() -> None:
    """A declared category of whole numbers keeps levels that are numbers, so callers send 3 and not "3"."""
    assert column(["1", "-3", "0"], declared=True)[1] == [1, -3, 0]


@pytest.mark.parametrize("values", [["01067", "80331"], [f"{i:02d}" for i in range(1, 13)], ["007", "12", "3"]])
def test_digits_with_leading_zeros_are_text_with_a_notice(values: list[str]) -> None:
    """Postcodes and codes with leading zeros are text, and a notice explains it."""
    found, texts = column(values)
    assert texts == values
    assert "leading zeros, such as" in str(found.notices[0])


def test_one_odd_zero_among_many_numbers_makes_no_code() -> None:
    """A single 07 in 3,000 numbers is the number 7."""
    found, numbers = column([*NUMBERS, "07"])
    assert numbers[-1] == 7
    assert found.notices == ()


def test_one_stray_word_does_not_make_a_category_of_numbers() -> None:
    """A stray word among numbers becomes a missing value and is named with its row."""
    found, numbers = column([*NUMBERS, "abc"])
    assert numbers == [*map(int, NUMBERS), None]
    told = "column 'size' holds numbers and 'abc' (row 2999), which are taken as missing values"
    assert list(map(str, found.notices)) == [told]
    assert found.missing == {"abc"}


@pytest.mark.parametrize("token", ["n/a", "None", "#N/A", "?", "-", "  ", ""])
def test_placeholders_among_numbers_are_missing_however_many(token: str) -> None:
    """Blanks and placeholders among numbers are missing values; placeholders are named with their rows."""
    found, numbers = column(["1.5", token, "2", token])
    assert numbers == [1.5, None, 2.0, None]
    told = f"column 'size' holds numbers and '{token}' (row 1, row 3), which are taken as missing values"
    assert list(map(str, found.notices)) == ([told] if token.strip() else [])


def test_a_placeholder_among_text_is_a_level() -> None:
    """A word such as None among other texts is a level."""
    assert column(["None", "Grvl", "Pave", "None"])[1] == ["None", "Grvl", "Pave", "None"]


def test_strict_makes_strays_an_error() -> None:
    """With strict nothing is taken as missing that was not written as missing."""
    assert "'?' (row 1), which --strict refuses" in column(["1", "?", "2"], strict=True)[0].problem


def test_a_rare_level_among_few_numbers_is_no_stray() -> None:
    """Sizes 10, 12, 14 and a rare XL are levels, not numbers and a typing error."""
    values = ["10", "12", "14"] * 100 + ["XL"]
    assert column(values)[1] == values


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (["1,200", "12,000,000"], "thousands separators; read thousands separators with  --thousands ','"),
        (["1,200.50", "3.5"], "--thousands ','"),
        (["1,200", "3"], "--thousands ','  or  --decimal ','"),
        (["1,25", "3"], "a decimal comma; read it with  --decimal ','"),
        (["1'200", "3'400"], '--thousands "\'"'),
        (["$1,200", "$3"], "a currency sign; take the signs out of the table; read thousands separators with"),
        (["12 €", "3 €"], "a currency sign"),
        (["12 %", "3.5%"], "a per cent sign"),
        (["\u22128", "3"], "negative numbers; write them with '-'"),
        (["(8.50)", "3.25"], "negative numbers; write them with '-'"),
        (["8-", "3"], "negative numbers; write them with '-'"),
    ],
)
def test_numbers_in_an_unusual_writing_are_named_with_the_option_that_reads_them(
    values: list[str], advice: str
) -> None:
    """Numbers in an unusual writing are refused with the option that reads them."""
    found, _ = column(values)
    assert f"'{values[0]}' (row 0)" in found.problem
    assert advice in found.problem
    assert "--drop size" in found.problem


def test_repeated_percentages_are_a_category() -> None:
    """Repeated texts such as 10 % are levels, and a notice explains how to read them as numbers."""
    values = ["10 %", "20 %"] * 20
    found, texts = column(values)
    assert (texts, found.problem) == (values, "")
    assert "per cent" in str(found.notices[0])


def test_thousands_and_decimal_marks_are_read_as_declared() -> None:
    """Separators are taken out only where they stand between groups of three digits."""
    assert column(["1,200", "12,000.5", "-3"], thousands=",")[1] == [1200.0, 12000.5, -3.0]
    assert column(["1.200", "12.000,5"], decimal=",", thousands=".")[1] == [1200.0, 12000.5]
    assert column(["1,5", "2"], decimal=",")[1] == [1.5, 2.0]
    assert column(["1,20", "1,200"], thousands=",")[0].problem


def test_whole_numbers_beyond_64_bits_are_numbers() -> None:
    """They are read as the nearest float64, for learning to refuse as identifiers."""
    assert column(["123456789012345678901", "1"])[1] == [1.2345678901234568e20, 1.0]
