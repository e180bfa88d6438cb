"""What is suspicious about a table before training, and what is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from orris.training.learning import Task
from orris.training.suspicions import suspicions

RNG = np.random.default_rng(0)
N = 200


def table(**columns: Any) -> pd.DataFrame:
    """200 rows: a number, a level, and further columns."""
    return pd.DataFrame({"size": RNG.normal(size=N), "town": RNG.choice(["Lima", "Oslo"], N)} | columns)


def told(X: pd.DataFrame, y: Any = None, task: Task = "classification") -> list[str]:
    """The notices on a table, as text."""
    target = pd.Series(RNG.integers(0, 2, len(X)) if y is None else y, name="churned")
    return [str(notice) for notice in suspicions(X, target, task)]


@pytest.mark.parametrize(
    "values",
    [np.arange(N) + 1000, np.cumsum(RNG.integers(1, 99, N)), RNG.permutation(N) + 5],
    ids=["row numbers", "increasing", "unique and dense"],
)
def test_whole_numbers_that_are_all_different_are_taken_for_identifiers(values: Any) -> None:
    """The notice names the option that leaves the column out."""
    [notice] = told(table(number=values))
    assert notice.startswith("column 'number' holds ")
    assert notice.endswith("leave it out with  --drop number")


def test_a_name_like_an_identifiers_counts_where_numbers_are_far_apart() -> None:
    """Random whole numbers that are all different may be measurements, unless the column is called an id."""
    values = RNG.choice(10**9, N, replace=False)
    assert told(table(population=values)) == []
    assert len(told(table(customer_id=values))) == 1


def test_constant_columns_are_named() -> None:
    """A column that holds one value teaches nothing; one that is sometimes missing may."""
    [notice] = told(table(country="PE"))
    assert notice.startswith("column 'country' holds the same value in every row (PE)")
    assert told(table(country=["PE", None] * (N // 2))) == []


@pytest.mark.parametrize("leak", [lambda y: y, lambda y: np.where(y == 1, "gone", "here"), lambda y: y * 3.5 - 1])
def test_a_column_that_alone_predicts_the_class_is_named(leak: Any) -> None:
    """The target in other words is known only afterwards."""
    y = RNG.integers(0, 2, N)
    [notice] = told(table(status=leak(y)), y)
    assert notice.startswith("column 'status' alone predicts 'churned' (accuracy 1.0000")
    assert notice.endswith("--drop status")


def test_a_column_that_alone_predicts_the_value_is_named() -> None:
    """A price in another currency is the price."""
    y = RNG.normal(100, 20, N)
    [notice] = told(table(price_eur=y * 0.92), y, "regression")
    assert "column 'price_eur' alone predicts" in notice


def test_a_level_of_its_own_in_every_row_is_no_leak() -> None:
    """What is right on the rows that it was fitted on says nothing about others."""
    assert told(table(note=[f"note {i}" for i in range(N)])) == []


def test_many_duplicate_rows_are_counted() -> None:
    """Copies in the training share and in the held-out share flatter the metrics."""
    X, y = table(), RNG.integers(0, 2, N)
    rows = pd.concat([X, X.iloc[:20]], ignore_index=True)
    [notice] = told(rows, np.concatenate([y, y[:20]]))
    assert notice.startswith("20 of 220 rows are copies of earlier ones")


@pytest.mark.parametrize(
    ("load", "task"),
    [
        (load_iris, "classification"),
        (load_wine, "classification"),
        (load_breast_cancer, "classification"),
        (load_diabetes, "regression"),
    ],
)
def test_nothing_is_suspicious_about_tables_that_are_sound(load: Any, task: Task) -> None:
    """An ordinary table causes no notice."""
    data = load(as_frame=True)
    assert [str(notice) for notice in suspicions(data.data, data.target, task)] == []
