"""Tables that tests train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

TABLE = Path(__file__).parents[1] / "data" / "iris.csv"
MEASUREMENTS = {
    column: {"exclusive_minimum": 0, "message": "Measurement must be positive"}
    for column in ("sepal_length", "sepal_width", "petal_length", "petal_width")
}
"""Bounds of the iris table's columns."""


def mixed_table(n_rows: int = 400, seed: int = 0) -> pd.DataFrame:
    """Every kind of column, missing values in each, and a binary text target that depends on them.

    Returns:
        Columns ``age`` (number), ``visits`` (integer), ``member`` (boolean), ``town`` (text category), ``tariff``
        (integer category, as pandas' ``category``), ``spend`` (number without missing values) and the target
        ``churned`` ("no"/"yes").
    """
    rng = np.random.default_rng(seed)
    age = np.round(rng.normal(45, 15, n_rows), 1)
    visits = rng.poisson(4, n_rows).astype(float)
    member = rng.random(n_rows) < 0.4
    town = rng.choice(["Oslo", "Rome", "São Paulo", 'New "York"'], n_rows, p=[0.4, 0.3, 0.2, 0.1])
    tariff = rng.choice([10, 20, 30], n_rows)
    spend = np.round(rng.gamma(2, 30, n_rows), 2)
    odds = (
        0.04 * (age - 45)
        - 0.3 * (visits - 4)
        - 1.2 * member
        + 0.8 * (town == "Rome")
        + 0.02 * (tariff - 20)
        + 0.01 * spend
    )
    churned = np.where(rng.random(n_rows) < 1 / (1 + np.exp(-odds)), "yes", "no")
    table = pd.DataFrame(
        {
            "age": np.where(rng.random(n_rows) < 0.1, np.nan, age),
            "visits": pd.array(np.where(rng.random(n_rows) < 0.1, np.nan, visits), dtype="Float64").astype("Int64"),
            "member": pd.Series(member, dtype="boolean").mask(rng.random(n_rows) < 0.1),
            "town": pd.Series(town, dtype=object).mask(rng.random(n_rows) < 0.1, other=None),
            "tariff": pd.Categorical(np.where(rng.random(n_rows) < 0.1, np.nan, tariff), categories=[10, 20, 30]),
            "spend": spend,
        }
    )
    table["churned"] = churned
    return table
