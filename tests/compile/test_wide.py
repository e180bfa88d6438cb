"""Tests of wide tables: weights of one-hot columns are looked up, and other models run in chunks of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from orris.compile import Compiled, compile_pipeline
from orris.compile.build import build
from orris.runtime import Answers, OnnxRuntime
from orris.runtime import onnx as runtime
from orris.schema.arrays import FloatArray
from orris.schema.frames import encode
from orris.training.learning import Declared, learn_schema

N_LEVELS = 1_200
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "code": [f"level {i % N_LEVELS}" for i in range(2 * N_LEVELS)],
        "colour": RNG.choice(["red", "green", "blue"], 2 * N_LEVELS),
        "size": RNG.normal(size=2 * N_LEVELS).round(2),
    }
)
THREE = RNG.integers(0, 3, len(TABLE))


def encoded(**settings: Any) -> Any:
    """Two categories one-hot, and a number scaled, between them."""
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        (StandardScaler(), ["size"]),
        (OneHotEncoder(handle_unknown="infrequent_if_exist", **settings), ["code"]),
    )


def packaged(pipeline: Any, target: Any, *, classes: tuple[Any, ...] = ()) -> Compiled:
    """The pipeline, fitted on the table and compiled."""
    pipeline.fit(TABLE, target)
    task: Any = "classification" if classes else "regression"
    schema = learn_schema(TABLE, target="y", task=task, labels=classes, declared=Declared(categorical=("code",)))
    return compile_pipeline(pipeline, schema, encode(schema, TABLE))


SETTINGS: dict[str, dict[str, Any]] = {
    "every level": {},
    "without the first": {"drop": "first"},
    "infrequent levels together": {"max_categories": 600},
}


@pytest.mark.parametrize("selected", [False, True])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_weights_of_one_hot_columns_are_looked_up(settings: dict[str, Any], selected: bool) -> None:
    """The served graph never makes the wide table, and unknown, dropped and unselected levels weigh nothing."""
    steps = [encoded(**settings), SelectKBest(k=500)] if selected else [encoded(**settings)]
    compiled = packaged(make_pipeline(*steps, LogisticRegression(max_iter=2000)), THREE, classes=(0, 1, 2))
    assert compiled.verdict.strategy == "exact"
    assert "unseen" in compiled.verdict.rows_by_origin
    graph = build_of(compiled).graph
    wide = {constant.name for constant in graph.initializer if np.prod(constant.dims) > 400}
    assert wide
    assert {node.op_type for node in graph.node if wide & set(node.input)} == {"Gather"}


def build_of(compiled: Compiled) -> Any:
    """The compiled model as a graph."""
    import onnx

    return onnx.load_from_string(compiled.content)


def test_a_regression_over_levels_alone_is_looked_up() -> None:
    """A regression over levels alone is a sum of looked-up weights and the intercept."""
    compiled = packaged(make_pipeline(make_column_transformer((OneHotEncoder(), ["code"])), Ridge()), RNG.random(2400))
    assert compiled.verdict.strategy == "exact"
    assert compiled.verdict.largest_difference < 1e-12
    assert "Gemm" not in {node.op_type for node in build_of(compiled).graph.node}


def test_other_models_are_run_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree over a wide table gets no more rows at a time than the allowed table size."""
    pipeline = make_pipeline(encoded(), DecisionTreeClassifier(max_depth=3)).fit(TABLE, THREE)
    schema = learn_schema(
        TABLE, target="y", task="classification", labels=(0, 1, 2), declared=Declared(categorical=("code",))
    )
    model, graph = build(pipeline, schema)
    assert graph.widest == N_LEVELS + 4
    rows = encode(schema, TABLE)
    whole = OnnxRuntime(model.SerializeToString()).run(rows)
    monkeypatch.setattr(runtime, "CHUNK_BYTES", 8 * 1_300 * 100)
    chunked = OnnxRuntime(model.SerializeToString())
    sizes: list[int] = []
    run = chunked._run

    def counted(part: FloatArray) -> Answers:
        sizes.append(len(part))
        return run(part)

    monkeypatch.setattr(chunked, "_run", counted)
    assert np.array_equal(whole.probabilities, chunked.run(rows).probabilities)  # type: ignore[arg-type]
    assert max(sizes) <= 110
    assert sum(sizes) == len(rows)
