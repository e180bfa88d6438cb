"""Tests of every preset on every table: the served model answers as the trained one."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from orris.compile import compile_pipeline
from orris.runtime import OnnxRuntime
from orris.schema.frames import encode
from orris.training import learning
from orris.training.pipelines import PRESETS, build
from tests.example_tables import mixed_table

WITHOUT_DIFFERENCE = {"forest", "extra-trees", "decision-tree", "xgboost"}


@cache
def table(name: str) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """Features and target."""
    if name == "mixed":
        rows = mixed_table()
        return rows.drop(columns="churned"), rows["churned"]
    if name == "mixed-regression":
        rows = mixed_table().drop(columns="churned")
        return rows.drop(columns="spend"), rows["spend"]
    frame = getattr(datasets, f"load_{name}")(as_frame=True).frame
    if name == "digits":
        frame = frame.iloc[::8]
    return frame.drop(columns="target"), frame["target"]


CASES = [
    ("classification", preset, name)
    for preset in PRESETS["classification"]
    for name in ("iris", "wine", "breast_cancer", "digits", "mixed")
]
CASES += [("regression", preset, name) for preset in PRESETS["regression"] for name in ("diabetes", "mixed-regression")]


@pytest.mark.parametrize(("task", "preset", "name"), CASES, ids=[f"{preset} on {name}" for _, preset, name in CASES])
def test_a_preset_is_served_as_it_was_trained(task: Any, preset: str, name: str) -> None:
    """Every preset is compiled with equal labels, and forests, trees and XGBoost without any difference."""
    features, target = table(name)
    labels = () if task == "regression" else tuple(np.unique(np.array(target.tolist())).tolist())
    schema = learning.learn_schema(features, target="target", task=task, labels=labels)
    X = learning.to_training_frame(features, schema)
    # Without a limit CatBoost takes a minute for the ten digits.
    pipeline = build(preset, schema, seed=0, parameters={"iterations": 60} if preset == "catboost" else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(X, np.array(target.tolist()))
    compiled = compile_pipeline(pipeline, schema, encode(schema, X))
    verdict = compiled.verdict
    assert verdict.proof is not None or "no statement" in verdict.unproved, verdict.unproved
    assert verdict.n_rows >= (3_000 if verdict.proof is not None and verdict.proof.equality == "bits" else 10_000)
    assert verdict.n_label_differences == 0
    assert verdict.largest_difference <= verdict.tolerance
    assert verdict.strategy == "exact", verdict.attempts
    if preset in WITHOUT_DIFFERENCE:
        assert verdict.largest_difference == 0.0
    if "mixed" in name:
        assert {"missing", "unseen"} <= set(verdict.rows_by_origin)
    golden = OnnxRuntime(compiled.content).run(compiled.golden_rows)
    if golden.labels is not None:
        assert np.array_equal(golden.labels, compiled.golden_answers.labels)  # type: ignore[arg-type]
