"""Tests of reading tables from files, and of the errors of files that cannot be read."""

import datetime
import decimal
import gzip
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from orris.errors import TableError
from orris.tables import files
from orris.tables.files import from_frame, read_table, write_iris
from orris.tables.rules import ReadOptions, Rules

REPO = Path(__file__).parents[2]


def read(folder: Path, content: bytes, name: str = "table.csv") -> pd.DataFrame:
    """The table read from a file of this content."""
    path = folder / name
    path.write_bytes(content)
    return read_table(path)


def test_iris_in_the_repository_equals_the_bundled_table(tmp_path: Path) -> None:
    """data/iris.csv is byte for byte the bundled iris table."""
    write_iris(tmp_path / "new" / "iris.csv")
    assert (tmp_path / "new" / "iris.csv").read_bytes() == (REPO / "data" / "iris.csv").read_bytes()


def test_iris_has_four_measurements_and_the_species() -> None:
    """The bundled table has 150 rows of four numbers and a text."""
    table = read_table(REPO / "data" / "iris.csv")
    assert table.shape == (150, 5)
    assert table.dtypes.map(str).tolist() == ["float64"] * 4 + ["str"]
    assert table.iloc[0].tolist() == [5.1, 3.5, 1.4, 0.2, "setosa"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_detected(tmp_path: Path, delimiter: str) -> None:
    """Values separated by comma, semicolon, tab or bar are read with the right delimiter."""
    rows = [["a", "b", "c"], ["1", "1.5", "x y"], ["2", "2.5", "z"]]
    content = "\n".join(delimiter.join(row) for row in rows).encode()
    assert read(tmp_path, content).to_dict("list") == {"a": [1, 2], "b": [1.5, 2.5], "c": ["x y", "z"]}


def test_quoted_values_hold_delimiters_marks_and_newlines(tmp_path: Path) -> None:
    """A quoted value is taken as it stands."""
    table = read(tmp_path, b'a,b\n"x, y","say ""hi"""\n"p\nq",z\n')
    assert table.to_dict("list") == {"a": ["x, y", "p\nq"], "b": ['say "hi"', "z"]}


def test_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """A BOM before the header is skipped."""
    assert list(read(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2\r\n").columns) == ["a", "b"]


def test_gzip_is_unpacked(tmp_path: Path) -> None:
    """A .csv.gz is read as the .csv in it."""
    assert read(tmp_path, gzip.compress(b"a,b\n1,2\n"), "t.csv.gz").to_dict("list") == {"a": [1], "b": [2]}


def test_decimal_comma_is_understood(tmp_path: Path) -> None:
    """With another delimiter, columns of numbers with a comma are numbers."""
    table = read(tmp_path, b"a;b;c\n1,5;x,y;3\n-2,25;z;4\n")
    assert table.to_dict("list") == {"a": [1.5, -2.25], "b": ["x,y", "z"], "c": [3, 4]}


def test_a_decimal_comma_beside_decimal_points_is_refused(tmp_path: Path) -> None:
    """Numbers of one table that are written in two ways are named, with the option that reads one of them."""
    with pytest.raises(TableError, match=r"column 'a' .*'1,5' \(row 0\): a decimal comma.*--decimal"):
        read(tmp_path, b"a;b\n1,5;2.5\n")


def test_thousands_are_not_guessed(tmp_path: Path) -> None:
    """Numbers such as 1,500 are refused, because they have two readings."""
    with pytest.raises(TableError, match=r"column 'price'.*--thousands ','  or  --decimal ','"):
        read(tmp_path, b"price;n\n1,500;2\n12,000;3\n")


def test_types_and_missing_values(tmp_path: Path) -> None:
    """Integers, booleans and text keep their type; every spelling of missing becomes missing; yes and no stay text."""
    table = read(tmp_path, b"i,j,b,c,t,y\n1,1,true,True,NA,yes\n2,,false,null,x,no\n-3,nan,True,False,NaN,yes\n")
    assert table.dtypes.map(str).to_dict() == {
        "i": "int64",
        "j": "Int64",
        "b": "bool",
        "c": "boolean",
        "t": "str",
        "y": "str",
    }
    assert table["j"].isna().tolist() == [False, True, True]
    assert table["c"].isna().tolist() == [False, True, False]
    assert table["t"].isna().tolist() == [True, False, True]


def test_space_around_names_and_values_is_cut_off(tmp_path: Path) -> None:
    """Comma and space part values as comma alone does."""
    table = read(tmp_path, b"a, b, c\n1, State-gov , true\n2, , false\n")
    assert table["b"].tolist()[0] == "State-gov"
    assert table["b"].isna().tolist() == [False, True]
    assert table["c"].dtype == bool


def test_numbers_are_read_to_the_last_bit(tmp_path: Path) -> None:
    """Written and read again, floats are the same."""
    values = np.random.default_rng(0).normal(size=200) * 10.0 ** np.arange(-100, 100)
    table = read(tmp_path, ("x,n\n" + "\n".join(f"{value!r},0" for value in values.tolist())).encode())
    assert table["x"].tolist() == values.tolist()


def test_dates_stay_text(tmp_path: Path) -> None:
    """Dates are left as written, for learning to recognise."""
    assert read(tmp_path, b"day,n\n2024-01-02,1\n").to_dict("list") == {"day": ["2024-01-02"], "n": [1]}


def test_parquet_is_read_as_the_same_table(tmp_path: Path) -> None:
    """A Parquet file gives what the CSV of it gives; an index without a name is left out."""
    frame = pd.DataFrame({"i": [1, 2], "b": [True, None], "t": ["x", None], "f": [1.5, np.nan]}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    table = read_table(tmp_path / "t.parquet")
    assert table.dtypes.map(str).to_dict() == {"i": "int64", "b": "boolean", "t": "str", "f": "float64"}
    assert table.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"a,b\n", "no row below"),
        (b"a,a\n1,2\n", "column name 'a' is there twice"),
        (b",a\n0,1\n", r"column 1 has no name.*index=False"),
        (b"a,b\n1,2\n\n3\n", "line 4 has 1 value, but the header has 2 columns"),
        (b'a,b\n"p\nq",2\n1,2,3\n', "line 4 has 3 values"),
        (b'a,b\n1,"2\n3,4\n', "line 2 has a quotation mark that is not closed"),
        (b"5.1,3.5,setosa\n4.9,3.0,setosa\n", "line 1 holds values .'5.1'.*names on top"),
        (b"a b\n1 2\n", "separated by spaces"),
        ("a,b\n1,2\nä,3\n".encode("latin-1"), r"line 3 is not UTF-8.*iconv"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"PK\x03\x04xx", "Excel"),
        (b"PAR1xx", "rename it to .parquet"),
        (b"a,b\n1,\x00\n", "line 2 holds binary data"),
    ],
)
def test_a_malformed_file_has_a_precise_error(tmp_path: Path, content: bytes, message: str) -> None:
    """The error names the file, the line or column, and what to do."""
    with pytest.raises(TableError, match=rf"table\.csv.*{message}"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("name", "message"), [("t.xlsx", "'.xlsx' is no table"), ("t.csv", "no such file"), ("t", "give a CSV")]
)
def test_files_that_are_no_tables_are_named(tmp_path: Path, name: str, message: str) -> None:
    """A file with an unknown suffix and a missing file are refused with their names."""
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "message"), [("t.csv.gz", "no intact gzip"), ("t.parquet", "cannot be read as Parquet")]
)
def test_broken_binary_files_are_named(tmp_path: Path, name: str, message: str) -> None:
    """Content that does not fit the suffix is refused with the file's name."""
    with pytest.raises(TableError, match=message):
        read(tmp_path, b"a,b\n1,2\n", name)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    """A folder named like a table cannot be read."""
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "t.csv")


def test_frames_become_plain_tables() -> None:
    """Object, nullable and small dtypes become the plain ones; rows are renumbered; what is none of them is left."""
    frame = pd.DataFrame(
        {
            "flags": np.array([True, None], dtype=object),
            "texts": np.array(["x", None], dtype=object),
            "decimals": [decimal.Decimal("1.5"), None],
            "integers": pd.array([1, None], dtype="Int64"),
            "small": np.array([1, 2], dtype="int8"),
            "none": [None, None],
            "dates": [datetime.date(2024, 1, 1), None],
        },
        index=[5, 6],
    )
    table = from_frame(frame)
    expected = ["boolean", "str", "float64", "Int64", "int64", "float64", "object"]
    assert table.dtypes.map(str).tolist() == expected
    assert table.index.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({0: [1]}), "0 is not text"),
        (pd.DataFrame({"a": []}), "no row"),
        (pd.DataFrame(index=[0]), "no column"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is there twice"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
    ],
)
def test_frames_that_are_no_tables_are_refused(frame: pd.DataFrame, message: str) -> None:
    """Frames with unusable names or shapes are refused."""
    with pytest.raises(TableError, match=message):
        from_frame(frame)


def table_of(folder: Path, content: bytes, options: ReadOptions | None = None) -> files.Table:
    """The table of a CSV file of this content, with rules and notices."""
    path = folder / "table.csv"
    path.write_bytes(content)
    return files.read(path, options)


def test_the_rules_by_which_text_became_values_are_returned(tmp_path: Path) -> None:
    """Reading returns its rules (trimming, missing texts, decimal mark, separators), which requests apply again."""
    numbers = "".join(f"{i},5;x\n" for i in range(20))
    table = table_of(tmp_path, f"a;b\n{numbers}?;y\n".encode())
    tokens = ("", "N/A", "NA", "NULL", "NaN", "nan", "null")
    assert table.rules == Rules(True, tokens, ("?",), ",", "", ";")


def test_a_quoted_na_is_text(tmp_path: Path) -> None:
    """Quotation marks around NA make it a level, Namibia's for instance; without them the value is missing."""
    table = table_of(tmp_path, b'country,n\n"NA",1\nNA,2\n NA ,3\n"",4\nDE,5\n')
    assert table.frame["country"].tolist()[0] == "NA"
    assert table.frame["country"].isna().tolist() == [False, True, True, True, False]


def test_all_bad_lines_are_named_up_to_ten(tmp_path: Path) -> None:
    """One error names up to ten bad lines, and the option that leaves them out."""
    content = b"a,b\n" + b"1\n1,2\n" * 12
    with pytest.raises(TableError, match=r"line 2 has 1 value.*line 20 .*--skip-bad-lines") as caught:
        table_of(tmp_path, content)
    assert str(caught.value).count("has 1 value") == 10


def test_bad_lines_are_left_out_and_counted(tmp_path: Path) -> None:
    """With skip_bad_lines the other lines are read, and a notice names those that were not."""
    table = table_of(tmp_path, b"a,b\n1,2\n3\n4,5,6\n7,8\n", ReadOptions(skip_bad_lines=True))
    assert table.frame.to_dict("list") == {"a": [1, 7], "b": [2, 8]}
    assert [str(notice) for notice in table.notices] == [
        "2 lines are left out, with too few or too many values: line 3 has 1 value, but the header has 2 columns;"
        " line 4 has 3 values"
    ]


def test_all_bad_columns_are_named_at_once(tmp_path: Path) -> None:
    """One error names all bad columns."""
    rows = "".join(f'"$1,{i}00.00","{i}.5 %"\n' for i in range(1, 9))
    with pytest.raises(TableError, match=r"column 'price' .*currency sign.*--thousands ','(?s:.*)'rate' .*per cent"):
        table_of(tmp_path, b"price,rate\n" + rows.encode())


def test_dropped_columns_are_not_checked(tmp_path: Path) -> None:
    """A column that is left out may hold anything; several names may be given in one text."""
    table = table_of(tmp_path, b"a,b,c\n$1,2 %,3\n", ReadOptions(drop=("a,b",)))
    assert table.frame["c"].tolist() == [3]


def test_a_dropped_column_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    """A misspelt name is refused, with the name that is probably meant."""
    with pytest.raises(TableError, match="--drop: the table has no column 'custmer'; is 'Customer' meant"):
        table_of(tmp_path, b"Customer,n\n1,2\n", ReadOptions(drop=("custmer",)))


def test_a_url_is_read_through_fsspec() -> None:
    """A table may lie in any file system that fsspec reads."""
    fsspec.filesystem("memory").pipe("/orris/table.csv", b"a,b\n1,2\n")
    assert read_table("memory://orris/table.csv").to_dict("list") == {"a": [1], "b": [2]}
    with pytest.raises(TableError, match=r"memory://orris/none\.csv: there is no such file"):
        read_table("memory://orris/none.csv")


def test_an_unknown_scheme_is_named() -> None:
    """A URL that nothing here reads is refused by its scheme, not as a missing file."""
    with pytest.raises(TableError, match="not read from gopher://"):
        read_table("gopher://host/table.csv")
