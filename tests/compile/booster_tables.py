"""Tables for the tests of boosting libraries, and the comparison of a compiled model with the library itself."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from orris.compile.build import build
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference
from orris.runtime import Answers, OnnxRuntime
from orris.schema.arrays import FloatArray
from orris.schema.frames import encode
from orris.training.learning import learn_schema

Task = Literal["binary", "multiclass", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
TABLES = {"cancer": load_breast_cancer, "diabetes": load_diabetes, "iris": load_iris, "wine": load_wine}
_MAX_ROWS = 4_000


def table(name: str, task: Task, *, missing: bool = False, categorical: bool = False) -> tuple[pd.DataFrame, Any]:
    """Numbers with two decimals and a target for ``task``, on request with holes and with two columns of categories.

    The target is the first column, plus what the category is worth; as it is, above the median, or in four ranges.
    """
    data = TABLES[name](return_X_y=True)[0]
    rng = np.random.default_rng(0)
    score = (data[:, 0] - data[:, 0].mean()) / data[:, 0].std() + rng.normal(0, 0.1, len(data))
    spread = data[:, 1:7] / data[:, 1:7].std(axis=0)
    frame = pd.DataFrame({f"x{i}": spread[:, i].round(2) for i in range(spread.shape[1])})
    if categorical:
        towns = rng.choice([f"town {i:02d}" for i in range(12)], len(data))
        frame["town"] = pd.Categorical(towns, categories=sorted(set(towns), reverse=True))
        frame["tariff"] = pd.Categorical(rng.choice([30, 10, 20], len(data)))
        score = (
            score + np.sin(9 * np.asarray(frame["town"].cat.codes, dtype=float)) + 0.02 * frame["tariff"].astype(float)
        )
    if missing:
        for column in [*frame.columns[:3], *(["town"] if categorical else [])]:
            frame.loc[rng.random(len(frame)) < 0.06, column] = np.nan
    score = np.asarray(score, dtype=np.float64)
    if task == "regression":
        return frame, score
    cuts = [0.5] if task == "binary" else [0.25, 0.5, 0.75]
    return frame, np.digitize(score, np.quantile(score, cuts))


def answers(estimator: Any, X: Any) -> tuple[Answers, Answers, FloatArray]:
    """The answers of the library and of the compiled model to the gate's rows, and the rows."""
    labels = () if not hasattr(estimator, "predict_proba") else np.asarray(estimator.classes_).tolist()
    schema = learn_schema(X, target="y", task="classification" if len(labels) else "regression", labels=labels)
    training = encode(schema, X)
    model, graph = build(estimator, schema)
    on_thresholds = adversary.on_thresholds(schema, training, graph.thresholds, 0)
    chosen = np.random.default_rng(0).permutation(len(on_thresholds))[:_MAX_ROWS]
    rows = np.concatenate([*adversary.origins(schema, training, 0).values(), on_thresholds[chosen]])
    reference = Reference(estimator, schema)
    rows, expected = reference.ask(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return expected, OnnxRuntime(model.SerializeToString()).run(rows), rows


def assert_exact(estimator: Any, X: Any, absolute: float = 0.0) -> None:
    """Labels are equal, probabilities and values within ``absolute`` (values relative to at least one)."""
    expected, found, rows = answers(estimator, X)
    assert len(rows) > 3_000
    if expected.values is not None:
        assert found.values is not None
        difference = np.abs(expected.values - found.values) / np.maximum(1.0, np.abs(expected.values))
        assert difference.max() <= absolute, rows[difference.argmax()]
        return
    assert expected.probabilities is not None
    assert found.probabilities is not None
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=0, atol=absolute)
