"""Tests of reports: complete, self-contained, escaped, and the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from orris.schema import Bounds, Column, Kind, Schema
from orris.training.evaluation import Evaluation
from orris.training.gates import measure_gates, parse_gate
from orris.training.importance import Importance
from orris.training.report.document import write_report
from orris.training.scores import Predictions, Threshold, class_metrics, classification_report, confusion_matrix
from orris.verdict import Attempt, Proof, Verdict

HOSTILE = "<script>alert('x')</script>|`*_[a](b)$&"
VERDICT = Verdict("exact", "forest", 12345, {"training rows": 150, "on thresholds": 12195}, 0, 0.0, 0.0, 9.5, 4150.0)
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def classified(labels: tuple[str, ...]) -> Evaluation:
    """Six rows a class, the first of which is answered wrongly."""
    truth = np.repeat(np.arange(len(labels)), 6)
    predicted = truth.copy()
    predicted[0] = 1
    return Evaluation(
        task="classification",
        labels=labels,
        metrics={"accuracy": 0.9375, "roc_auc": 0.98, "cv_accuracy_mean": 0.91, "cv_accuracy_std": 0.02},
        n_train=80,
        n_evaluated=len(truth),
        n_folds=5,
        truth=truth,
        predicted=predicted,
        report=classification_report(truth, predicted, labels),
        confusion=confusion_matrix(truth, predicted, len(labels)),
        per_class=class_metrics(truth, Predictions(predicted), labels),
        importances=(Importance("width", 0.25, 0.05),),
        notes=["A note."],
    )


SCHEMA = Schema(
    columns=(
        Column("width", Kind.NUMBER, low=0.1, high=2.5, bounds=Bounds(exclusive_minimum=0, maximum=10), example=0.2),
        Column(
            "colour",
            Kind.CATEGORY,
            "str",
            levels=tuple(f"c{i}" for i in range(40)),
            missing=True,
            unseen=True,
            example="c1",
        ),
    ),
    target="species",
    task="classification",
    labels=("setosa", "virginica"),
)


def write(folder: Path, **changes: Any) -> Path:
    """A whole report with some arguments changed."""
    picture = folder / "pixel.png"
    folder.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(PIXEL)
    arguments: dict[str, Any] = {
        "name": "iris",
        "version": "1.0.3",
        "schema": SCHEMA,
        "evaluation": classified(("setosa", "virginica")),
        "provenance": {"Data digest (sha256)": "ab" * 32, "scikit-learn": "1.9.1"},
        "verdict": VERDICT,
        "plots": {"confusion_matrix": picture},
        "parameters": {"model": "logistic", "seed": 7, "drop": [], "model_parameters": {"C": 2.0}},
    }
    write_report(folder, **(arguments | changes))
    return folder


class Page(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember the tag."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the element that ends was opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text apart from style."""
        if self.open and self.open[-1] != "style":
            self.text += data


def page(folder: Path) -> Page:
    """The HTML report, parsed."""
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_html_is_well_formed(tmp_path: Path) -> None:
    """Every tag is closed where it should be, and the page says its language and title."""
    parsed = page(write(tmp_path))
    assert parsed.open == []
    assert ("html", {"lang": "en"}) in parsed.tags
    assert "iris 1.0.3: model report" in parsed.text


def test_html_is_self_contained(tmp_path: Path) -> None:
    """The page has no script, no inline style attribute, and refers to nothing outside itself."""
    parsed = page(write(tmp_path))
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object", "base", "form"}
    attributes = [item for _, attrs in parsed.tags for item in attrs.items()]
    assert not [key for key, _ in attributes if key == "style" or key.startswith("on")]
    assert all((value or "").startswith("data:image/png;base64,") for key, value in attributes if key == "src")
    assert all((value or "").startswith("#") for key, value in attributes if key == "href")


def test_contents_lead_to_the_sections(tmp_path: Path) -> None:
    """Every entry of the table of contents leads to a heading of the page, and every section has an entry."""
    evaluation = replace(classified(("setosa", "virginica")), thresholds=(Threshold(0.05, 0.5, 1.0, 2 / 3, 1.0),))
    parsed = page(write(tmp_path, evaluation=evaluation))
    targets = {str(attributes["href"])[1:] for tag, attributes in parsed.tags if tag == "a"}
    assert targets == {attributes["id"] for tag, attributes in parsed.tags if tag == "h2"}


def test_thresholds_are_a_table(tmp_path: Path) -> None:
    """The page and the Markdown show the thresholds of a binary task; a label of the data stays text."""
    lines = (Threshold(0.05, 0.25, 1.0, 0.4, 0.9), Threshold(0.95, None, 0.0, 0.0, 0.0))
    write(tmp_path, evaluation=replace(classified(("no", HOSTILE)), thresholds=lines))
    parsed = page(tmp_path)
    assert "25.0%" in parsed.text
    assert "script" not in {tag for tag, _ in parsed.tags}
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| 0.05 | 25.0% | 100.0% | 40.0% | 90.0% |" in markdown
    assert "| 0.95 | – | 0.0% | 0.0% | 0.0% |" in markdown
    numbers = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["thresholds"][1] == {"threshold": 0.95, "precision": None, "recall": 0, "f1": 0, "selected": 0}


def test_baseline_stands_beside_every_metric(tmp_path: Path) -> None:
    """Metrics and main numbers show what an answer that looks at no column reaches."""
    evaluation = replace(classified(("setosa", "virginica")), baseline={"accuracy": 0.5, "roc_auc": 0.4375})
    text = page(write(tmp_path, evaluation=evaluation)).text
    assert text.count("0.4375") == 2
    assert "baseline 0.5000" in text
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["baseline"] == evaluation.baseline


def test_metrics_on_training_rows_are_marked(tmp_path: Path) -> None:
    """The main numbers of a model that was fitted elsewhere are marked as measured on the rows given."""
    assert "on the rows given" not in page(write(tmp_path / "trained")).text
    evaluation = replace(classified(("setosa", "virginica")), n_train=0)
    assert "accuracy on the rows given" in page(write(tmp_path / "packaged", evaluation=evaluation)).text


def test_html_policy_admits_its_own_style(tmp_path: Path) -> None:
    """The Content-Security-Policy forbids everything but pictures as data and the page's own style, by its digest."""
    html = (write(tmp_path) / "report.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(attrs["content"] for tag, attrs in Page(html).tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'")


def test_html_pictures_are_embedded_with_text(tmp_path: Path) -> None:
    """A plot is in the page, byte for byte, with a text for those who do not see it."""
    pictures = [attrs for tag, attrs in page(write(tmp_path)).tags if tag == "img"]
    assert len(pictures) == 1
    assert base64.b64decode((pictures[0]["src"] or "").split(",")[1]) == PIXEL
    assert pictures[0]["alt"] == "Confusion matrix: true classes by predicted classes"


@pytest.mark.parametrize("file", ["report.html", "report.md"])
def test_reports_show_every_section(file: str, tmp_path: Path) -> None:
    """Both reports show metrics with folds, the contract, the origin, parameters, notes and the verdict."""
    text = (write(tmp_path) / file).read_text(encoding="utf-8").replace("&gt;", ">")
    numbers = ("0.9375", "0.9100 ± 0.0200", "12,345 rows", "150 training rows")
    contract = ("0.1 to 2.5", "> 0, ≤ 10", "and 28 more")
    for shown in (*numbers, *contract, "ab" * 32, "C: 2.0", "A note."):
        assert shown in text, shown


_PROOF = Proof("rounding", 5, 7, 3, 20, 23, 4e-15, ("addition is addition",))
_PROVED = msgspec.structs.replace(VERDICT, proof=_PROOF)
_UNPROVED = msgspec.structs.replace(VERDICT, unproved="there is no statement")


@pytest.mark.parametrize(
    ("verdict", "badge", "words"),
    [
        (VERDICT, "compared", "To the last bit"),
        (_PROVED, "proved", "3 trees with 20 splits and 23 leaves, 5 operators and 7 constants"),
        (_UNPROVED, "compared", "not proved for every row: there is no statement"),
        (Verdict("skl2onnx-float64", "other", 10_000, {}, 0, 1e-11, 1e-9, 5, 50), "compared", "double precision"),
        (
            Verdict("scikit-learn", "other", 10_000, {}, 0, 0, 0, 50, 50, (Attempt("exact", "no converter"),)),
            "compared, not compiled",
            "no converter",
        ),
        (Verdict("exact", "tree", 10_000, {}, 3, 0.5, 1e-12, 5, 50), "not the same", "3 labels differed"),
        (None, "not proven", "The parity gate was not run"),
    ],
)
def test_verdict_in_words(verdict: Verdict | None, badge: str, words: str, tmp_path: Path) -> None:
    """The verdict is named by a badge and explained in words, in both reports."""
    write(tmp_path, verdict=verdict)
    assert f">{badge}</span>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"**{badge}.**" in markdown
    assert words in page(tmp_path).text
    assert words in markdown


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    """Names, labels, levels, notes, and provenance from the data are shown as text, never as markup."""
    evaluation = classified((HOSTILE, "plain"))
    evaluation.notes.append(HOSTILE)
    column = Column(HOSTILE, Kind.CATEGORY, "str", levels=(HOSTILE,), example=HOSTILE)
    schema = Schema((column,), HOSTILE, "classification", (HOSTILE, "plain"))
    write(
        tmp_path,
        name=HOSTILE,
        schema=schema,
        evaluation=evaluation,
        provenance={HOSTILE: HOSTILE},
        parameters={HOSTILE: HOSTILE},
    )
    parsed = page(tmp_path)
    assert "script" not in {tag for tag, _ in parsed.tags}
    assert parsed.text.count(HOSTILE) >= 10
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "<script" not in markdown
    assert r"\|\`\*\_\[a\](b)\$&amp;" in markdown


def test_markdown_tables_are_whole(tmp_path: Path) -> None:
    """Every line of a table has as many cells as its head, also when labels hold bars and line breaks."""
    write(tmp_path, evaluation=classified(("a|b", "c\nd")), provenance={"x|y": "1\n2"})
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    width = 0
    for line in markdown.splitlines():
        n_bars = len(re.findall(r"(?<!\\)\|", line))
        width = width if width and n_bars else n_bars
        assert n_bars == width, line
    assert r"| a\|b | 5 (83.3%) | 1 (16.7%) |" in markdown


def test_many_classes_have_no_matrix_as_text(tmp_path: Path) -> None:
    """A confusion matrix too wide to read as a table is left to the plot."""
    labels = tuple(f"class {i}" for i in range(30))
    write(tmp_path, evaluation=classified(labels))
    assert "Confusion matrix as a table" not in page(tmp_path).text
    assert "### Confusion matrix" not in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["confusion_matrix"]["counts"]) == 30


def test_regression(tmp_path: Path) -> None:
    """A regression has its metrics, its plots and no classes."""
    values = np.array([1.0, 2.0, 3.0])
    evaluation = Evaluation("regression", (), {"r2": 0.5, "rmse": 1234.5678}, 9, 3, 0, values, values)
    schema = Schema((Column("width", Kind.NUMBER),), "price", "regression")
    write(tmp_path, schema=schema, evaluation=evaluation, plots={})
    text = page(tmp_path).text
    assert "1234.6" in text
    assert "Answers price, a number." in text
    assert "Classes" not in text
    assert "classes" not in json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))


def test_metrics_json(tmp_path: Path) -> None:
    """``metrics.json`` holds the metrics, the confusion matrix and, where there are gates, what they found."""
    evaluation = classified(("setosa", "virginica"))
    gates = measure_gates([parse_gate("accuracy>=0.9"), parse_gate("accuracy>0.99")], evaluation.metrics)
    write(tmp_path, gates=gates)
    numbers = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["metrics"] == evaluation.metrics
    assert numbers["confusion_matrix"] == {"labels": ["setosa", "virginica"], "counts": [[5, 1], [0, 6]]}
    assert numbers["gates"] == [
        {"gate": "accuracy>=0.9", "value": 0.9375, "passed": True},
        {"gate": "accuracy>0.99", "value": 0.9375, "passed": False},
    ]
    assert "Conditions this version had to meet" in page(tmp_path).text


def test_same_bytes(tmp_path: Path) -> None:
    """The same arguments give the same three files."""
    first, second = write(tmp_path / "1"), write(tmp_path / "2")
    for file in ("report.html", "report.md", "metrics.json"):
        assert (first / file).read_bytes() == (second / file).read_bytes()
