"""Steps over numbers: the graph equals ``transform``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.feature_selection import SelectFromModel, SelectKBest, VarianceThreshold, f_regression
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from orris.errors import NotConvertibleError
from orris.schema.frames import decode
from tests.compile.transformations import CODED, NUMBERS, WHOLE, assert_transforms, converted, draw, fitted, schema_of

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    MinMaxScaler(feature_range=(-1, 3), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False),
    RobustScaler(with_scaling=False, quantile_range=(10, 90)),
]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_scaler_is_equal_to_the_last_bit(run_graph: Any, scaler: Any) -> None:
    """A scaler equals scikit-learn on numbers, integers, booleans, missing values and integer-coded categories."""
    schema = schema_of(*NUMBERS, *CODED)
    step = fitted(scaler, schema, draw(schema, 200))
    assert_transforms(run_graph, step, schema, draw(schema, 500, 1, unseen=0.1))


def test_constant_column_is_scaled_by_one(run_graph: Any) -> None:
    """A constant column does not divide by zero."""
    schema = schema_of("weight", "count")
    rows = draw(schema, 50)
    rows[:, 0] = 4.2
    for scaler in (StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()):
        assert_transforms(run_graph, fitted(scaler, schema, rows), schema, draw(schema, 50, 1))


@pytest.mark.parametrize(
    "scaler", [StandardScaler(with_mean=False), MaxAbsScaler(), RobustScaler(with_centering=False)], ids=str
)
def test_sparse_matrix_is_multiplied_by_the_reciprocal(run_graph: Any, scaler: Any) -> None:
    """Behind a sparse encoder a scaler multiplies by 1/scale, which differs from dividing in the last bit."""
    schema = schema_of("word", "kind", "zone")
    rows = draw(schema, 199)
    assert_transforms(run_graph, fitted(make_pipeline(OneHotEncoder(), scaler), schema, rows), schema, rows)


@pytest.mark.parametrize("factor", [1 + 1e-9, 1 - 2**-53, 1 + 2**-52])
def test_scale_that_is_almost_one_is_not_dropped(run_graph: Any, factor: float) -> None:
    """ONNX Runtime drops a lone factor that rounds to one in float32; a converted scaler keeps it."""
    schema = schema_of("weight")
    rows = draw(schema, 100)
    step = fitted(make_pipeline(StandardScaler(with_std=False), MaxAbsScaler(), MinMaxScaler()), schema, rows)
    step[1].scale_ = np.array([factor])
    step[2].scale_ = np.array([factor])
    assert_transforms(run_graph, step, schema, rows)


def test_scaler_inverts_to_input_values(run_graph: Any) -> None:  # noqa: ARG001
    """A feature behind two scalers still maps its values back to those of its input column."""
    schema = schema_of("weight", "count")
    rows = draw(schema, 100)
    step = fitted(make_pipeline(StandardScaler(), MinMaxScaler(feature_range=(2, 7))), schema, rows)
    _, frame = converted(step, schema)
    scaled = step.transform(decode(schema, rows))
    for j, feature in enumerate(frame.features):
        assert feature.source == j
        assert feature.inverse is not None
        np.testing.assert_allclose(feature.inverse(scaled[:, j]), rows[:, j], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("norm", "tolerance"), [("max", 0.0), ("l1", 4e-16), ("l2", 4e-16)])
def test_normalizer_divides_rows_by_their_norm(run_graph: Any, norm: Any, tolerance: float) -> None:
    """Rows are divided by their norm, rows of zeros stay."""
    schema = schema_of(*WHOLE)
    rows = draw(schema, 300)
    rows[:3] = 0.0
    rows[3] = (1e-16, 0, 0)
    assert_transforms(run_graph, fitted(Normalizer(norm=norm), schema, rows), schema, rows, tolerance=tolerance)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_normalizer_of_a_sparse_matrix(run_graph: Any, norm: Any) -> None:
    """Behind a sparse encoder rows without any known category stay zero."""
    schema = schema_of("word", "kind")
    rows = draw(schema, 100)
    step = fitted(make_pipeline(OneHotEncoder(handle_unknown="ignore"), Normalizer(norm=norm)), schema, rows)
    assert_transforms(run_graph, step, schema, draw(schema, 200, 1, unseen=0.4), tolerance=4e-16)


def test_binarizer_compares_with_its_threshold(run_graph: Any) -> None:
    """A value on the threshold is zero, and the threshold is known to the gate."""
    schema = schema_of("weight")
    rows = draw(schema, 300)
    rows[0] = 0.3
    step = fitted(Binarizer(threshold=0.3), schema, rows)
    assert_transforms(run_graph, step, schema, rows)
    assert 0.3 in np.concatenate(converted(step, schema)[0].thresholds[0])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"degree": 4},
        {"interaction_only": True, "degree": 3},
        {"include_bias": False},
        {"degree": (2, 3)},
        {"degree": 1},
    ],
    ids=str,
)
def test_polynomial_features_multiply_in_scikit_learns_order(run_graph: Any, settings: dict[str, Any]) -> None:
    """Products are equal to the last bit for every degree."""
    schema = schema_of("weight", "count", "flag", "size")
    rows = draw(schema, 300, missing=0.0)
    assert_transforms(run_graph, fitted(PolynomialFeatures(**settings), schema, rows), schema, rows)


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_polynomial_features_of_a_sparse_matrix(run_graph: Any, degree: int) -> None:
    """A sparse matrix is multiplied from the left, a dense one from the right."""
    schema = schema_of("word", "kind")
    rows = draw(schema, 100)
    step = make_pipeline(
        OneHotEncoder(), StandardScaler(with_mean=False), PolynomialFeatures(degree, interaction_only=degree == 4)
    )
    assert_transforms(run_graph, fitted(step, schema, rows), schema, rows)


@pytest.mark.parametrize("encode", ["ordinal", "onehot", "onehot-dense"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile", "kmeans"])
def test_bins_are_equal_on_their_edges(run_graph: Any, encode: Any, strategy: Any) -> None:
    """Values on, below and above each bin edge fall into scikit-learn's bin."""
    schema = schema_of("weight", "count")
    rows = draw(schema, 200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = fitted(KBinsDiscretizer(4, encode=encode, strategy=strategy, quantile_method="linear"), schema, rows)
    edges = step.bin_edges_[0]
    around = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    rows[: len(around), 0] = around
    assert_transforms(run_graph, step, schema, rows)


def test_selectors_take_their_columns(run_graph: Any) -> None:
    """A selector keeps the columns it supports."""
    schema = schema_of("weight", "count", "flag", "zone")
    rows = draw(schema, 200, missing=0.0)
    y = rows[:, 1] * 3 + rows[:, 2]
    for step in (
        VarianceThreshold(0.3),
        SelectKBest(f_regression, k=2),
        SelectFromModel(LinearRegression(), max_features=1),
    ):
        assert_transforms(run_graph, fitted(step, schema, rows, y), schema, rows)


def test_identity_function_keeps_the_frame(run_graph: Any) -> None:
    """A FunctionTransformer without a function changes nothing."""
    schema = schema_of(*NUMBERS)
    rows = draw(schema, 50)
    frame = assert_transforms(run_graph, fitted(FunctionTransformer(), schema, rows), schema, rows)
    assert [feature.name for feature in frame.features] == list(NUMBERS)


def test_text_is_refused_by_name() -> None:
    """A step that computes refuses a column of text and names it."""
    with pytest.raises(NotConvertibleError, match="'word'"):
        converted(StandardScaler(), schema_of("weight", "word"))


def test_float32_is_refused(run_graph: Any) -> None:  # noqa: ARG001
    """A scaler behind an encoder that returns float32 would compute in float32, so it is refused."""
    schema = schema_of("word", "kind")
    step = fitted(
        make_pipeline(OneHotEncoder(dtype=np.float32), StandardScaler(with_mean=False)), schema, draw(schema, 50)
    )
    with pytest.raises(NotConvertibleError, match="float32"):
        converted(step, schema)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(SCALERS), st.sampled_from(SCALERS))
def test_any_two_scalers_agree(run_graph: Any, seed: int, first: Any, second: Any) -> None:
    """Two scalers in a row equal scikit-learn on random rows."""
    schema = schema_of(*NUMBERS)
    step = fitted(make_pipeline(clone(first), clone(second)), schema, draw(schema, 60, seed))
    assert_transforms(run_graph, step, schema, draw(schema, 60, seed + 1))
