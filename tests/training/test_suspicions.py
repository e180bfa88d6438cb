"""Tests of the notices about suspicious tables before training."""

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


def notices_on(X: pd.DataFrame, y: Any = None, task: Task = "classification") -> list[str]:
    """Return the notices on a table, as text."""
    target = pd.Series(RNG.integers(0, 2, len(X)) if y is None else y, name="churned")
    return [str(notice) for notice in suspicions(X, target, task)]


@pytest.mark.parametrize(
    "values",
    [np.arange(N) + 1000, np.cumsum(RNG.integers(1, 99, N)), RNG.permutation(N) + 5],
    ids=["row numbers", "increasing", "unique and dense"],
)
def test_whole_numbers_that_are_all_different_are_taken_for_identifiers(values: Any) -> None:
    """A column of distinct whole numbers is reported as an identifier, with the option that leaves it out."""
    [notice] = notices_on(table(number=values))
    assert notice.startswith("column 'number' holds ")
    assert notice.endswith("leave it out with  --drop number")


def test_a_name_like_an_identifiers_counts_where_numbers_are_far_apart() -> None:
    """Distinct whole numbers that are far apart are reported only if the column is named like an identifier."""
    values = RNG.choice(10**9, N, replace=False)
    assert notices_on(table(population=values)) == []
    assert len(notices_on(table(customer_id=values))) == 1


def test_constant_columns_are_named() -> None:
    """A column with one value is reported, unless it is sometimes missing."""
    [notice] = notices_on(table(country="PE"))
    assert notice.startswith("column 'country' holds the same value in every row (PE)")
    assert notices_on(table(country=["PE", None] * (N // 2))) == []


@pytest.mark.parametrize("rare", ["Krakw", "krakow ", "KRAKOW"])
def test_a_rare_level_that_is_nearly_a_common_one_is_named(rare: str) -> None:
    """A misspelling would be a level of its own, in training and for ever after."""
    town = ["Krakow"] * (N - 51) + ["Oslo"] * 50 + [rare]
    [notice] = notices_on(pd.DataFrame({"size": RNG.normal(size=N), "town": town}))
    assert notice.startswith(f"column 'town' has levels that may be one and the same: '{rare}' (1 of 200 rows)")
    for other in ("Rome", "Kyoto", "Krakow 2"):
        assert notices_on(pd.DataFrame({"size": RNG.normal(size=N), "town": [*town[:-1], other]})) == []


@pytest.mark.parametrize("leak", [lambda y: y, lambda y: np.where(y == 1, "gone", "here"), lambda y: y * 3.5 - 1])
def test_a_column_that_alone_predicts_the_class_is_named(leak: Any) -> None:
    """A column that predicts the class alone is reported as a leak of the target."""
    y = RNG.integers(0, 2, N)
    [notice] = notices_on(table(status=leak(y)), y)
    assert notice.startswith("column 'status' alone predicts 'churned' (accuracy 1.0000")
    assert notice.endswith("--drop status")


def test_a_column_that_alone_predicts_the_value_is_named() -> None:
    """A column that predicts the value alone, as a price in another currency, is reported as a leak."""
    y = RNG.normal(100, 20, N)
    [notice] = notices_on(table(price_eur=y * 0.92), y, "regression")
    assert "column 'price_eur' alone predicts" in notice


def test_a_level_of_its_own_in_every_row_is_no_leak() -> None:
    """A column with a distinct level in every row is not reported as a leak, since it does not predict other rows."""
    assert notices_on(table(note=[f"note {i}" for i in range(N)])) == []


def test_many_duplicate_rows_are_counted() -> None:
    """Many duplicate rows are reported, because copies in training and holdout improve the metrics falsely."""
    X, y = table(), RNG.integers(0, 2, N)
    rows = pd.concat([X, X.iloc[:20]], ignore_index=True)
    [notice] = notices_on(rows, np.concatenate([y, y[:20]]))
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
def test_ordinary_tables_cause_no_notice(load: Any, task: Task) -> None:
    """An ordinary table causes no notice."""
    data = load(as_frame=True)
    assert [str(notice) for notice in suspicions(data.data, data.target, task)] == []
