"""Functions of single numbers: the graph equals NumPy's and scipy's, and marks what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler
from sklearn.svm import LinearSVC

import orris
from orris.compile.converters.functions import FUNCTIONS
from orris.errors import NotConvertibleError, OrrisError
from tests.compile import agreement
from tests.compile.transformations import NUMBERS, assert_transforms, converted, draw, fitted, schema_of

EXACT = [function for function, entry in FUNCTIONS.items() if entry.exact]
ROUNDED = [function for function, entry in FUNCTIONS.items() if not entry.exact]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("function", [each for each in EXACT if each is not np.sign], ids=lambda each: each.__name__)
def test_exact_function_is_equal_to_the_last_bit(run_graph: Any, function: Callable[..., Any]) -> None:
    """Roots, squares, roundings and their like equal NumPy's to the last bit, missing values included."""
    schema = schema_of("size", "weight")
    keywords = {"a_min": -0.5, "a_max": 3.0} if function is np.clip else {}
    rows = draw(schema, 400)
    rows[:6, 1] = (0.0, -0.0, 0.5, -1.5, 2.5, 1e300)
    step = fitted(FunctionTransformer(function, kw_args=keywords), schema, rows)
    assert_transforms(run_graph, step, schema, rows)


def test_sign_of_numbers(run_graph: Any) -> None:
    """The sign of NaN is NaN."""
    schema = schema_of("size", "weight")
    rows = draw(schema, 200)
    assert_transforms(run_graph, fitted(FunctionTransformer(np.sign), schema, rows), schema, rows)


@pytest.mark.parametrize("decimals", [-1, 0, 1, 2])
def test_round_takes_decimals(run_graph: Any, decimals: int) -> None:
    """Halves go to the even number, after a multiplication by a power of ten."""
    schema = schema_of("size", "weight")
    rows = draw(schema, 300)
    step = fitted(FunctionTransformer(np.round, kw_args={"decimals": decimals}), schema, rows)
    assert_transforms(run_graph, step, schema, rows)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("function", ROUNDED, ids=lambda each: each.__name__)
def test_other_functions_agree_in_all_but_the_last_bits(run_graph: Any, function: Callable[..., Any]) -> None:
    """Logarithms, exponentials and circular functions agree to a few units in the last place, also next to zero."""
    schema = schema_of("size", "weight")
    rows = draw(schema, 400)
    rows[:8, 1] = (0.0, -0.0, 1e-17, -1e-12, 1e-9, -1.0, 1e15, 700.0)
    step = fitted(FunctionTransformer(function), schema, rows)
    graph, frame = converted(step, schema)
    assert all(feature.rounded for feature in frame.features)
    with np.errstate(all="ignore"):
        wanted = function(rows)
    found = run_graph(graph, frame, 2, rows)["frame"]
    np.testing.assert_allclose(found, wanted, rtol=3e-15 if function not in (np.sin, np.cos) else 1e-12, equal_nan=True)


def test_a_function_that_is_not_known_is_named() -> None:
    """A function of the user's own is refused by its name, and the message says which are known."""
    schema = schema_of(*NUMBERS)

    def mine(values: Any) -> Any:
        return values

    with pytest.raises(NotConvertibleError, match=r"function mine.*log1p"):
        converted(fitted(FunctionTransformer(mine), schema, draw(schema, 50)), schema)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_forest_behind_a_logarithm_is_not_converted_whole() -> None:
    """A tree compares the last bits, in which NumPy differs from ONNX Runtime, so scikit-learn takes the logarithm."""
    x, y = load_wine(return_X_y=True)
    forest = make_pipeline(FunctionTransformer(np.log1p), RandomForestClassifier(5, random_state=0)).fit(x, y)
    with pytest.raises(NotConvertibleError, match="thresholds"):
        agreement.converted(forest, x.shape[1])
    verdict = orris.package(forest, x, y, name="forest", store=None).verdict
    assert verdict.strategy == "partly-compiled"
    assert verdict.largest_difference == 0.0


def test_a_forest_behind_a_root_is_converted_whole() -> None:
    """A square root is correctly rounded in both, so trees may compare it."""
    x, y = load_wine(return_X_y=True)
    forest = make_pipeline(FunctionTransformer(np.sqrt), RandomForestClassifier(5, random_state=0)).fit(x, y)
    verdict = orris.package(forest, x, y, name="forest", store=None).verdict
    assert (verdict.strategy, verdict.largest_difference) == ("exact", 0.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_logarithms_of_negative_numbers_get_no_answer() -> None:
    """A row of which the logarithm is infinite gets no answer, as scikit-learn's next step refuses it."""
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(FunctionTransformer(np.log), LinearSVC(random_state=0)).fit(x, y)
    loaded = orris.load(orris.package(model, x, y, name="logarithm", store=None))
    row = x[:1].copy()
    assert loaded.predict(row) == model.predict(row)
    for number in (0.0, -1.0):
        row[0, 3] = number
        with pytest.raises(ValueError, match=r"infinity|NaN"):
            model.predict(row)
        with pytest.raises(OrrisError, match="refuses this row"):
            loaded.predict(row)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_model_that_takes_missing_values_takes_the_logarithm_of_a_negative_number() -> None:
    """Histogram-based boosting reads NaN as missing, so the row is answered as scikit-learn answers it."""
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(FunctionTransformer(np.sqrt), HistGradientBoostingClassifier(max_iter=5)).fit(x, y)
    bundle = orris.package(model, x, y, name="missing", store=None)
    assert bundle.verdict.strategy == "exact"
    row = x[:1].copy()
    row[0, 3] = -1.0
    np.testing.assert_allclose(orris.load(bundle).predict_proba(row), model.predict_proba(row), atol=1e-12)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("table", ["cancer", "wine"])
@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
def test_powers_agree(run_graph: Any, method: Any, table: str, standardize: bool) -> None:
    """Both power transformations agree on two tables, on rows beyond the training rows and on missing values."""
    x, _ = {"cancer": load_breast_cancer, "wine": load_wine}[table](return_X_y=True)
    x = x[:, :5] + (0.01 if method == "box-cox" else -3.0)
    step = PowerTransformer(method=method, standardize=standardize).fit(x)
    rows = np.concatenate([x, x * 3.0, x[:20] / 50.0, np.where(np.arange(5) == 2, np.nan, x[:10])])
    graph, frame = _array_step(step, 5)
    with np.errstate(all="ignore"):
        wanted = step.transform(rows)
    found = run_graph(graph, frame, 5, rows)["frame"]
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-11, equal_nan=True)


def test_powers_of_zero_and_two_are_logarithms(run_graph: Any) -> None:
    """The powers 0 and 2, at which the formula has no value, are logarithms."""
    step = PowerTransformer(standardize=False).fit(np.array([[1.0, 2.0], [2.0, 3.0], [4.0, 7.0]]))
    step.lambdas_ = np.array([0.0, 2.0])
    rows = np.array([[1.0, 2.0], [-3.0, -4.0], [0.0, -0.0]])
    graph, frame = _array_step(step, 2)
    np.testing.assert_allclose(run_graph(graph, frame, 2, rows)["frame"], step.transform(rows), rtol=1e-14)


def test_box_cox_refuses_numbers_that_are_not_positive() -> None:
    """A number that is not positive is refused by the fitted step, and gets no answer."""
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(PowerTransformer(method="box-cox"), LogisticRegression(max_iter=5000)).fit(x, y)
    bundle = orris.package(model, x, y, name="powers", store=None)
    assert bundle.verdict.strategy == "exact"
    row = x[:1].copy()
    row[0, 0] = -1.0
    with pytest.raises(OrrisError, match="answer"):
        orris.load(bundle).predict(row)


def test_a_regression_behind_logarithms_passes_the_gate() -> None:
    """A scaled logarithm in front of a linear regression is exact within the gate's bounds."""
    x, y = load_wine(return_X_y=True)
    model = make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LinearRegression()).fit(x, y + 0.5)
    assert orris.package(model, x, y + 0.5, name="logarithm", store=None).verdict.strategy == "exact"


def _array_step(step: Any, width: int) -> Any:
    """The step in a graph of its own over an array's columns."""
    from orris.compile.dispatch import transform
    from orris.compile.graph import INPUT, Feature, Frame, Graph

    graph = Graph()
    return graph, transform(graph, step, Frame(INPUT, (Feature(),) * width))
