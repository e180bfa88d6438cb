"""Tests of CSV in and out of the playground: pasted, chosen or dropped, with refused rows listed apart."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, expect

from tests.servers import Server
from tests.ui.browser import Visit, visiting
from tests.ui.hostile import COLUMNS, LEVELS

TABLE = Path(__file__).parents[2] / "data" / "iris.csv"


def predict(page: Page, text: str) -> None:
    """Paste the text and press the button."""
    page.get_by_label("CSV with a line of column names").fill(text)
    page.get_by_role("button", name="Predict").click()


def downloaded(page: Page, folder: Path) -> str:
    """Return the file that the download button gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download answers").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes().decode("utf-8")


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the table as Python reads it."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_whole_table_is_answered_as_the_api_answers_it(
    visit: Visit, server: Server, ask: httpx.Client, tmp_path: Path
) -> None:
    """A chosen file is answered as the API answers it; its columns are kept, and its target scores the answers."""
    page = visit.open(server.url)
    page.get_by_label("CSV file").set_input_files(TABLE)
    expect(page.locator("#batch-said")).to_contain_text("150 rows answered")
    score = page.get_by_role("group", name="Score")
    rows = rows_of(downloaded(page, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["iris-iris-1.0.0.csv"]
    names = ("sepal_length", "sepal_width", "petal_length", "petal_width")
    answers = ask.post("/api/v1/predict", json=[{name: float(row[name]) for name in names} for row in rows]).json()[
        "predictions"
    ]
    assert [row["species"] for row in rows] == [line["species"] for line in rows_of(TABLE.read_text())]
    assert [row["prediction_label"] for row in rows] == [answer["prediction_label"] for answer in answers]
    labels = ("setosa", "versicolor", "virginica")
    shares = [[float(row[f"probability_{label}"]) for label in labels] for row in rows]
    assert shares == [answer["probabilities"] for answer in answers]
    hits = sum(row["species"] == row["prediction_label"] for row in rows)
    expect(score).to_contain_text(f"{hits / 150:.1%}".replace("%", " %"))
    expect(score).to_contain_text("always the most frequent class: 33.3 %")
    counts = {label: dict.fromkeys(labels, 0) for label in labels}
    for row in rows:
        counts[row["species"]][row["prediction_label"]] += 1
    cells = [[int(text) for text in line.locator("td").all_inner_texts()] for line in score.locator("tbody tr").all()]
    assert cells == [list(line.values()) for line in counts.values()]


def test_a_regression_is_scored_on_the_target(visit: Visit, regression_server: Server) -> None:
    """A table that holds a regression's target gets the errors of the answers, beside those of always the mean."""
    page = visit.open(regression_server.url)
    predict(page, "width,depth,price\n3,15,20000\n4,16,60000\n5,17,\n")
    score = page.get_by_role("group", name="Score")
    expect(score).to_contain_text("on 2 rows against the column “price”")
    expect(score).to_contain_text("always their mean: mean absolute error 20,000")


def test_labels_that_the_model_does_not_know_have_no_score(visit: Visit, server: Server) -> None:
    """A table whose target holds none of the model's classes says that there is no score."""
    page = visit.open(server.url)
    predict(page, "sepal_length,sepal_width,petal_length,petal_width,species\n5.1,3.5,1.4,0.2,rose\n")
    expect(page.get_by_role("group", name="Score")).to_contain_text("there is no score")


def test_rows_with_warnings_have_a_legend(browser: Browser, server: Server) -> None:
    """The legend explains the colours of rows that were refused or answered with warnings, and of no others."""
    head = "sepal_length,sepal_width,petal_length,petal_width\n"
    with visiting(browser, refused=(422,)) as visit:
        page = visit.open(server.url)
        predict(page, head + "5.1,3.5,1.4,0.2\n")
        expect(page.locator("#batch-said")).to_contain_text("1 row answered")
        expect(page.locator("#batch-result .key")).to_have_count(0)
        predict(page, head + "5.1,3.5,1.4,0.2\n90,3.5,1.4,0.2\n-1,3.5,1.4,0.2\n")
        words = ["answered with warnings: point at the row to read them", "refused"]
        expect(page.locator("#batch-result .key")).to_have_text(words)


def test_refused_rows_are_listed_apart(browser: Browser, server: Server, tmp_path: Path) -> None:
    """Refused rows are listed with number and problem, the others are answered, and the download has both."""
    lines = ["5.1,3.5,1.4,0.2", "-5,3.5,1.4,0.2", "6.3,wide,6,2.5", "6.3,3.3,6", "6.3,3.3,6,30"]
    text = "\n".join(["sepal_length,sepal_width,petal_length,petal_width", *lines, ""])
    with visiting(browser, refused=(422,)) as visit:
        page = visit.open(server.url)
        predict(page, text)
        expect(page.locator("#batch-said")).to_contain_text("2 rows answered")
        expect(page.locator("#batch-said")).to_contain_text("3 rows refused. 1 row with warnings.")
        assert page.locator(".refused li").all_inner_texts() == [
            "Row 2 sepal_length: Measurement must be positive: must be greater than 0 (a declared bound)",
            "Row 3 sepal_width: a number is needed, not text",
            "Row 4 4 values are needed, one for each column name, not 3",
        ]
        rows = rows_of(downloaded(page, tmp_path))
    assert [row["prediction_label"] for row in rows] == ["setosa", "", "", "", "virginica"]
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]
    assert rows[4]["warnings"] == "petal_width: outside the range that training saw"


def test_values_of_every_kind_survive_the_way_through_csv(
    visit: Visit, mixed_server: Server, ask_mixed: httpx.Client, tmp_path: Path
) -> None:
    """Values of every kind are read from CSV as a spreadsheet writes it, with semicolons and CRLF."""
    page = visit.open(mixed_server.url)
    lines = [
        "spend;age;visits;member;town;tariff",
        '10.5;44;3;TRUE;"New ""York""";10',
        "11;;;;NA;",
        "12;50;2;false;São Paulo;30",
    ]
    predict(page, "\r\n".join(lines))
    expect(page.locator("#batch-said")).to_contain_text("3 rows answered")
    rows = rows_of(downloaded(page, tmp_path))
    asked: list[dict[str, Any]] = [
        {"spend": 10.5, "age": 44, "visits": 3, "member": True, "town": 'New "York"', "tariff": 10},
        {"spend": 11, "age": None, "visits": None, "member": None, "town": None, "tariff": None},
        {"spend": 12, "age": 50, "visits": 2, "member": False, "town": "São Paulo", "tariff": 30},
    ]
    answers = ask_mixed.post("/api/v1/predict", json=asked).json()["predictions"]
    assert [float(row["probability_yes"]) for row in rows] == [answer["probabilities"][1] for answer in answers]
    assert [row["town"] for row in rows] == ['New "York"', "NA", "São Paulo"]
    assert rows[1]["warnings"].count("missing; training saw") == 5


def test_formulas_are_escaped_and_read_back(visit: Visit, hostile_server: Server, tmp_path: Path) -> None:
    """Cells that a spreadsheet would run get an apostrophe, and a downloaded file is answered alike again."""
    page = visit.open(hostile_server.url)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([*COLUMNS, "note"])
    writer.writerows([[-0.5, level, 1.25, '=HYPERLINK("http://x")'] for level in LEVELS])
    predict(page, out.getvalue())
    expect(page.locator("#batch-said")).to_contain_text(f"{len(LEVELS)} rows answered in")
    expect(page.locator("#batch-said")).not_to_contain_text("with warnings")
    first = downloaded(page, tmp_path)
    cells = [cell for row in csv.reader(io.StringIO(first, newline="")) for cell in row]
    assert [cell for cell in cells if cell[:1] in "=+@\t\r" and cell] == []
    assert {cell for cell in cells if cell.startswith("-")} == {"-0.5"}
    assert "'=SUM(A1)" in cells
    assert "'=1+1" in cells
    predict(page, first)
    expect(page.locator("#batch-said")).not_to_contain_text("with warnings")
    second = rows_of(downloaded(page, tmp_path))
    assert [row["probability_<i>yes</i>"] for row in second] == [
        row["probability_<i>yes</i>"] for row in rows_of(first)
    ]
    assert [row["prediction"] for row in second] == [row["prediction"] for row in rows_of(first)]


def test_a_file_that_is_dropped_is_answered(visit: Visit, server: Server) -> None:
    """A file that is dropped anywhere on the page is answered."""
    page = visit.open(server.url)
    text = "petal_width,petal_length,sepal_width,sepal_length\n0.2,1.4,3.5,5.1\n"
    page.evaluate(
        """(text) => {
            const carried = new DataTransfer();
            carried.items.add(new File([text], "one.csv", { type: "text/csv" }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true
            }));
        }""",
        text,
    )
    expect(page.locator("#batch-said")).to_contain_text("1 row answered")
    expect(page.locator("#batch-result .said-cell")).to_have_text("setosa")


NO_TABLES = {
    "": "Nothing to predict yet: paste CSV, or choose a file.",
    "sepal_length,sepal_width,petal_length\n1,2,3": "The first line lacks the column petal_width.",
    "sepal_length,sepal_width,petal_length,petal_width": "There is a line of column names, but no row.",
    "sepal_length,sepal_length,petal_length\n1,2,3": "The column “sepal_length” is there twice.",
    'sepal_length,"sepal_width\n1,2,3': "a quote that is opened in line 1 is never closed",
    "sepal_length,sepal_width,petal_length,petal_\ufffdwidth\n1,2,3,4": (
        "This is not UTF-8: save it as “CSV UTF-8” first."
    ),
}


def test_text_that_is_no_table_is_explained(visit: Visit, server: Server) -> None:
    """Text that is no table is explained without a request to the server."""
    page = visit.open(server.url)
    for text, said in NO_TABLES.items():
        predict(page, text)
        expect(page.locator("#batch-said")).to_have_text(said)
    assert [request for request in visit.requests if (request.post_data or "").startswith("[")] == []


def test_a_misspelt_column_is_named_as_the_api_names_it(browser: Browser, server: Server, mixed_server: Server) -> None:
    """Beside an absent column an unknown name is taken for its misspelling, also where the column may be missing."""
    with visiting(browser, refused=(422,)) as visit:
        page = visit.open(server.url)
        predict(page, "sepal_length,sepal_width,petal_length,Petal_Width\n5.1,3.5,1.4,0.2\n")
        expect(page.locator("#batch-said")).to_contain_text("did you mean 'petal_width'?")
        page = visit.open(mixed_server.url)
        predict(page, "age,visits,member,Twon,tariff,spend\n30,2,true,Rome,10,5\n")
        expect(page.locator("#batch-said")).to_contain_text("did you mean 'town'?")
        expect(page.locator("#batch-result tbody tr")).to_have_count(0)


def test_many_rows_go_in_parts(visit: Visit, server: Server) -> None:
    """1,200 rows go in three requests, all are answered, and the first twenty are shown."""
    page = visit.open(server.url)
    header, *rows = TABLE.read_text().splitlines()
    predict(page, "\n".join([header, *(rows * 8)]))
    expect(page.locator("#batch-said")).to_contain_text("1,200 rows answered")
    parts = [request.post_data or "" for request in visit.requests if (request.post_data or "").startswith("[")]
    assert [len(json.loads(part)) for part in parts] == [500, 500, 200]
    expect(page.get_by_role("region", name="Answers").locator("tbody tr")).to_have_count(20)


def test_a_sample_is_downloaded_and_answered(visit: Visit, server: Server, tmp_path: Path) -> None:
    """The sample CSV holds every column and rows of the training table, and is answered when it is uploaded."""
    page = visit.open(server.url)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download a sample CSV").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "iris-sample.csv"
    sample = [{name: float(cell) for name, cell in row.items()} for row in rows_of(path.read_text())]
    table = [
        {name: float(cell) for name, cell in row.items() if name != "species"} for row in rows_of(TABLE.read_text())
    ]
    assert len(sample) == 12
    assert all(row in table for row in sample)
    page.get_by_label("CSV file").set_input_files(path)
    expect(page.locator("#batch-said")).to_contain_text("12 rows answered")


def test_examples_fill_the_text(visit: Visit, mixed_server: Server) -> None:
    """Examples fill the text with every column, as rows that are answered without changes."""
    page = visit.open(mixed_server.url)
    page.get_by_role("button", name="Fill in examples").click()
    text = page.get_by_label("CSV with a line of column names").input_value()
    assert text.splitlines()[0] == "age,visits,member,town,tariff,spend"
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#batch-said")).to_contain_text(f"{len(rows_of(text))} rows answered")
