"""Tests of the parity gate: a model that differs is refused, and one that passes is the trained model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PowerTransformer, StandardScaler

from orris.compile import compile_pipeline
from orris.compile.build import build
from orris.compile.converters import neighbors
from orris.compile.parity import gate as parity
from orris.compile.parity import rows as adversary
from orris.compile.parity.reference import Reference
from orris.errors import CompileError, ParityError
from orris.runtime import Answers, OnnxRuntime
from orris.schema import Column, Kind, Schema
from orris.schema.frames import encode
from orris.training.learning import learn_schema
from tests.example_tables import mixed_table

X, Y = load_iris(return_X_y=True)
SCHEMA = learn_schema(X, target="species", task="classification", labels=(0, 1, 2))


def forest() -> Any:
    """A fitted forest whose leaves hold fractions."""
    return make_pipeline(StandardScaler(), RandomForestClassifier(20, min_samples_leaf=3, random_state=0)).fit(X, Y)


def gate(pipeline: Any, content: bytes) -> Any:
    """Prove a given model for a fitted pipeline on iris."""
    reference = Reference(pipeline, SCHEMA)
    _, graph = build(pipeline, SCHEMA)
    rows = adversary.origins(SCHEMA, X, 0) | {"threshold": adversary.on_thresholds(SCHEMA, X, graph.thresholds, 0)}
    asked = {origin: reference.ask(part) for origin, part in rows.items()}
    return parity.prove("exact", OnnxRuntime(content), reference, asked, parity.family(pipeline))


def test_the_true_model_passes_with_no_difference_at_all() -> None:
    """A forest is reproduced to the last bit."""
    model, _ = build(forest(), SCHEMA)
    verdict = gate(forest(), model.SerializeToString())
    assert verdict.n_label_differences == 0
    assert verdict.largest_difference == 0.0
    assert verdict.n_rows >= 10_000
    assert verdict.rows_by_origin["threshold"] > 100


def shifted(model: onnx.ModelProto, attribute: str) -> bytes:
    """The model with every threshold one ulp higher: wrong only for rows exactly on them."""
    for node in model.graph.node:
        for field in node.attribute:
            if field.name == attribute:
                values = numpy_helper.to_array(field.t)
                field.t.CopyFrom(numpy_helper.from_array(np.nextafter(values, -np.inf), field.t.name))
    return bytes(model.SerializeToString())


def test_thresholds_off_by_one_ulp_are_found() -> None:
    """Rows on the thresholds reveal a model whose thresholds are one ulp off."""
    model, _ = build(forest(), SCHEMA)
    with pytest.raises(ParityError, match=r"labels differ|largest difference"):
        gate(forest(), shifted(model, "nodes_splits"))


def test_another_seed_is_another_model() -> None:
    """A forest of another seed is refused."""
    other = make_pipeline(StandardScaler(), RandomForestClassifier(20, min_samples_leaf=3, random_state=1)).fit(X, Y)
    model, _ = build(other, SCHEMA)
    with pytest.raises(ParityError):
        gate(forest(), model.SerializeToString())


def test_an_intercept_off_by_a_billionth_is_found() -> None:
    """An intercept off by a billionth is found, as probabilities of linear models may differ by 1e-12."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    moved = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    moved[-1].intercept_ = moved[-1].intercept_ + np.array([1e-9, 0, 0])
    model, _ = build(moved, SCHEMA)
    with pytest.raises(ParityError, match="largest difference"):
        gate(pipeline, model.SerializeToString())


@pytest.mark.parametrize(
    ("found", "labels", "difference"),
    [
        (Answers(np.array([0, 1]), np.array([[0.6, 0.4], [0.5, 0.5]])), 0, 0.0),
        (Answers(np.array([1, 1]), np.array([[0.6, 0.4], [0.5, 0.5]])), 1, 0.0),
        (Answers(np.array([0, 1]), np.array([[0.6, 0.4], [0.25, 0.75]])), 0, 0.25),
        (Answers(np.array([0, 1]), np.array([[np.nan, 0.4], [0.5, 0.5]])), 0, np.inf),
    ],
)
def test_answers_are_compared_label_by_label_and_number_by_number(
    found: Answers, labels: int, difference: float
) -> None:
    """Labels and numbers are compared one by one, and a NaN in place of a number is an infinite difference."""
    expected = Answers(np.array([0, 1]), np.array([[0.6, 0.4], [0.5, 0.5]]))
    outcome = parity.compare(expected, found, "linear")
    assert (outcome.n_label_differences, outcome.largest_difference) == (labels, difference)


def test_an_output_that_is_missing_is_refused() -> None:
    """A model with labels alone is refused if the pipeline has probabilities."""
    expected = Answers(np.array([0]), np.array([[1.0, 0.0]]))
    with pytest.raises(ParityError, match="shape"):
        parity.compare(expected, Answers(np.array([0])), "linear")


def test_values_are_compared_relative_to_their_size() -> None:
    """Values are compared relative to their size, but at least to one."""
    outcome = parity.compare(
        Answers(values=np.array([1e6, 1.0])), Answers(values=np.array([1e6 + 1e-6, 1.0])), "linear"
    )
    assert outcome.largest_difference == pytest.approx(1e-12, rel=1e-3)


def test_an_estimator_without_a_converter_falls_back() -> None:
    """Without a converter the pipeline falls back to another way, and the verdict lists the attempts."""
    pipeline = make_pipeline(PowerTransformer(), Opaque(), LogisticRegression()).fit(X, Y)
    with pytest.raises(CompileError, match="Opaque"):
        compile_pipeline(pipeline, SCHEMA, X)


def test_require_compiled_turns_a_fallback_into_a_failure() -> None:
    """With ``require_compiled`` a fallback is an error that lists every reason."""
    compiled = compile_pipeline(fallback(), SCHEMA, X)
    assert compiled.model_file == "model.skops"
    assert compiled.verdict.strategy == "scikit-learn"
    assert all(attempt.remedy for attempt in compiled.verdict.attempts)
    assert {attempt.strategy for attempt in compiled.verdict.attempts} >= {"exact"}
    with pytest.raises(ParityError, match="no compiled model passes"):
        compile_pipeline(fallback(), SCHEMA, X, require_compiled=True)


def fallback() -> Any:
    """A fitted classifier that nothing converts, but skops reads."""
    inner = make_pipeline(FunctionTransformer(np.cbrt), LogisticRegression())
    return make_pipeline(StandardScaler(), CalibratedClassifierCV(inner, cv=2)).fit(X, Y)


def test_neighbours_too_many_to_compile_are_served_from_a_skops_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours too many to compile are served from a skops file, after their tree has answered queries."""
    monkeypatch.setattr(neighbors, "_MAX_NUMBERS", 10)
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier(algorithm="kd_tree")).fit(X, Y)
    compiled = compile_pipeline(pipeline, SCHEMA, X)
    assert compiled.model_file == "model.skops"
    assert compiled.verdict.largest_difference == 0.0


def test_a_searched_forest_is_held_to_no_difference() -> None:
    """A search over a forest must have no difference; an exponential behind a forest may move the last bit."""
    search = GridSearchCV(
        make_pipeline(RandomForestClassifier(3)), {"randomforestclassifier__max_depth": [2]}, cv=2
    ).fit(X, Y)
    assert parity.family(search) == parity.family(FrozenEstimator(search)) == "forest"
    assert parity.family(TransformedTargetRegressor(RandomForestRegressor(3)).fit(X, Y)) == "tree"


class Opaque(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """A transformer without any converter."""

    def fit(self, X: Any, y: Any = None) -> Opaque:  # noqa: ARG002
        """Nothing to learn."""
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        """Nothing to do."""
        return X


def test_the_schema_learns_from_the_pipeline_whether_unseen_levels_are_taken() -> None:
    """Unseen levels are accepted if the encoder ignores them and refused if it raises."""
    table = mixed_table()[["town", "spend", "churned"]].dropna()
    features = table[["town", "spend"]]
    for handle, expected in (("error", False), ("ignore", True)):
        encoder = OneHotEncoder(handle_unknown=handle, sparse_output=False)
        from sklearn.compose import make_column_transformer

        pipeline = make_pipeline(
            make_column_transformer((encoder, ["town"]), remainder="passthrough"), LogisticRegression()
        )
        pipeline.fit(features, table["churned"])
        schema = learn_schema(features, target="churned", task="classification", labels=("no", "yes"))
        compiled = compile_pipeline(pipeline, schema, encode(schema, features))
        assert compiled.schema.columns[0].unseen is expected
        assert ("unseen" in compiled.verdict.rows_by_origin) is expected


def test_generated_rows_keep_to_kinds_and_hard_bounds() -> None:
    """All rows of the gate are rows that the server would accept."""
    from orris.schema import Bounds
    from orris.schema.checks import check

    schema = Schema(
        columns=(
            Column("a", Kind.NUMBER, low=1.0, high=5.0, bounds=Bounds(exclusive_minimum=0, maximum=100)),
            Column("n", Kind.INTEGER, low=0, high=9, missing=True),
            Column("b", Kind.BOOLEAN),
            Column("c", Kind.CATEGORY, levels=("x", "y"), unseen=True, missing=True),
        ),
        target="y",
        task="regression",
    )
    rng = np.random.default_rng(0)
    training = np.column_stack(
        [rng.uniform(1, 5, 50), rng.integers(0, 9, 50), rng.integers(0, 2, 50), rng.integers(0, 2, 50)]
    ).astype(float)
    origins = adversary.origins(schema, training, 0)
    assert set(origins) == {"training", "missing", "unseen", "extreme", "random"}
    assert sum(map(len, origins.values())) >= 10_000
    for rows in origins.values():
        check(schema, rows)
    thresholds = adversary.on_thresholds(schema, training, {0: [np.array([0.0, 2.5, 200.0])], 1: [np.array([2.5])]}, 0)
    check(schema, thresholds)
    assert set(thresholds[:, 0]) >= {2.5}
    assert set(thresholds[:, 1]) >= {2.0, 3.0}


def test_the_largest_magnitude_is_that_of_the_pipeline() -> None:
    """Rows of the gate stay within the magnitude that scikit-learn's float32 trees accept."""
    schema = Schema(
        columns=(Column("a", Kind.NUMBER, low=0, high=1),),
        target="y",
        task="classification",
        labels=(False, True),
        container="array",
    )
    rows = np.linspace(0, 1, 40)[:, None]
    scaled = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(
        rows * 1e-12, rows[:, 0] > 0.5
    )
    compiled = compile_pipeline(scaled, schema, rows * 1e-12)
    assert compiled.schema.max_magnitude < 1e30
    assert compiled.verdict.largest_difference == 0.0


def test_the_same_pipeline_compiles_to_the_same_bytes() -> None:
    """Compiling the same pipeline twice gives the same model file."""
    first, second = (compile_pipeline(forest(), SCHEMA, X) for _ in range(2))
    assert first.content == second.content
    assert np.array_equal(first.golden_rows, second.golden_rows, equal_nan=True)


def test_a_pipeline_that_does_not_answer_its_training_rows_is_refused() -> None:
    """A pipeline that does not answer its training rows is refused before it is compiled."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:, :3], Y)
    with pytest.raises(CompileError, match="does not answer its own training rows"):
        compile_pipeline(pipeline, SCHEMA, X)


def test_isotonic_values_survive_whatever_serves_them() -> None:
    """A regressor that no exact converter covers is served all the same, and equal."""
    schema = learn_schema(X[:, :1], target="y", task="regression")
    pipeline = make_pipeline(Flat(), IsotonicRegression(out_of_bounds="clip"))
    with pytest.raises(CompileError):
        compile_pipeline(pipeline.fit(X[:, :1], X[:, 2]), schema, X[:, :1])


class Flat(Opaque):
    """One column as a vector."""

    def transform(self, X: Any) -> Any:
        """``(n_rows,)``."""
        return np.asarray(X).ravel()
