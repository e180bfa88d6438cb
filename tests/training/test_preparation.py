"""Tests of the checks before anything is fitted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orris.errors import OrrisError, SchemaError, SettingsError, TableError, TrainingError
from orris.tables.rules import Rules
from orris.training.params import TrainParams, override
from orris.training.preparation import prepare

CHURN = pd.DataFrame({"code": ["01", "1", "002", "1"] * 30, "size": range(1, 241, 2), "Churned": ["no", "yes"] * 60})


def churn(**settings: object) -> TrainParams:
    """Return settings for the table above."""
    return override(TrainParams(), target="Churned", **settings)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Write the table as a CSV file."""
    CHURN.to_csv(tmp_path / "churn.csv", index=False)
    return str(tmp_path / "churn.csv")


def test_a_declared_kind_is_applied_before_types_are_inferred(file: str) -> None:
    """In a declared category 01, 1 and 002 are three levels, and the rules of reading and the notices are kept."""
    ready = prepare(churn(table=file, categorical=["code"], drop=["size"]))
    assert ready.X["code"].unique().tolist() == ["01", "1", "002"]
    assert (ready.categorical, ready.dropped, ready.task) == (("code",), ("size",), "classification")
    assert ready.rules.trim
    assert (
        prepare(churn(drop=["size,code", "size"]).__class__(target="Churned", drop=("size",)), CHURN).rules == Rules()
    )


def test_several_columns_are_dropped_by_one_option(file: str) -> None:
    """The option ``--drop a,b`` drops both columns."""
    table = pd.read_csv(file).assign(extra=1.5)
    assert list(prepare(churn(drop=["size,extra"]), table).X.columns) == ["code"]


def test_a_column_whose_name_holds_a_comma_is_dropped_by_that_name() -> None:
    """A column named as the option's whole text is dropped before the text is split at commas."""
    ready = prepare(churn(drop=["a,b"]), CHURN.rename(columns={"size": "a,b"}))
    assert list(ready.X.columns) == ["code"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"target": "churned"}, TrainingError, "no column 'churned'.*--target COLUMN; is 'Churned' meant"),
        (
            {"target": "Churned", "drop": ["sise"]},
            TableError,
            "--drop: the table has no column 'sise'; is 'size' meant",
        ),
        ({"target": "Churned", "drop": ["Churned"]}, TrainingError, "target and is also dropped"),
        ({"target": "Churned", "drop": ["code,size"]}, TrainingError, "no column is left"),
        ({"target": "Churned", "gates": ["accuracy=0.9"]}, SettingsError, "is not METRIC"),
        ({"target": "Churned", "gates": ["rmse<=1"]}, SettingsError, "no metric 'rmse' of this classification"),
        ({"target": "Churned", "gates": ["acuracy>=1"]}, SettingsError, "there are accuracy, "),
        ({"target": "Churned", "folds": 0, "gates": ["cv_f1_mean>=0"]}, SettingsError, "no metric 'cv_f1_mean'"),
        ({"target": "size", "gates": ["accuracy>=0.9"]}, SettingsError, "no metric 'accuracy' of this regression"),
    ],
)
def test_unknown_columns_and_metrics_are_refused_before_training(
    settings: dict[str, object], error: type[OrrisError], message: str
) -> None:
    """Names of columns and metrics are checked, and the error has the nearest name."""
    with pytest.raises(error, match=message):
        prepare(override(TrainParams(), **settings), CHURN)


def test_gates_on_metrics_of_two_classes_need_two_classes() -> None:
    """A gate on the precision of the positive class is refused for three classes."""
    three = CHURN.assign(Churned=["no", "yes", "maybe"] * 40)
    with pytest.raises(SettingsError, match="no metric 'precision' of this classification; there are precision_macro"):
        prepare(churn(gates=["precision>=0.5"]), three)
    assert prepare(churn(gates=["precision>=0.5", "roc_auc>=0.1", "cv_recall_mean>=0"]), CHURN).task == "classification"


def test_notices_of_reading_and_of_the_table_come_together(tmp_path: Path) -> None:
    """A stray word and an identifier are both named before training."""
    path = tmp_path / "t.csv"
    rows = "".join(f"{i},{i * i % 37}.5,{'ab'[i % 2]}\n" for i in range(60))
    path.write_text("row,size,y\n" + rows + "60,?,a\n")
    ready = prepare(override(TrainParams(), table=str(path), target="y"))
    assert [notice.column for notice in ready.notices] == ["size", "row"]


def test_all_columns_that_cannot_be_learned_from_are_named_at_once() -> None:
    """One error names all unusable columns and one option that leaves them out."""
    days = pd.date_range("2026-01-01", periods=len(CHURN))
    table = CHURN.assign(note=[f"note {i}" for i in range(len(CHURN))], day=days.astype(str), empty=None)
    with pytest.raises(SchemaError, match=r"'note' cannot(?s:.*)'day' cannot(?s:.*)'empty' holds no value") as caught:
        prepare(churn(), table)
    assert str(caught.value).endswith("leave all of them out with  --drop note,day,empty")
    assert list(prepare(churn(drop=["note,day,empty"]), table).X.columns) == ["code", "size"]
    with pytest.raises(SchemaError, match="Leave it out"):
        prepare(churn(), CHURN.assign(day=days.astype(str)))
