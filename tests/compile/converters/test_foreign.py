"""Estimators without an exact converter come in through skl2onnx, one by one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, RANSACRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import PowerTransformer, StandardScaler

from orris.compile.converters import foreign
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from tests.compile import agreement

Kind = Literal["", "float64", "float32"]


def _frame(n_columns: int) -> Frame:
    return Frame(INPUT, (Feature(),) * n_columns)


def _labels(n: int) -> dict[str, Any]:
    codes = np.arange(n) % 3
    return {"text": np.array(["b", "a", "c"])[codes], "integer": codes * 7 - 3, "position": codes, "boolean": codes > 0}


@pytest.mark.parametrize("foreign_kind", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["text", "integer", "position", "boolean"])
def test_labels_become_positions(run_graph: agreement.RunGraph, kind: str, foreign_kind: Kind) -> None:
    """Whatever skl2onnx's labels are, text, integers or booleans, the graph's are positions in classes_."""
    x, _ = agreement.iris()
    x = np.ascontiguousarray(x + (np.arange(len(x)) % 3)[:, None])
    estimator = LogisticRegression().fit(x, _labels(len(x))[kind])
    graph = Graph(foreign=foreign_kind)
    answers = run_graph(graph, foreign.predict(graph, estimator, _frame(4)), 4, x)
    assert (estimator.classes_[answers["label"]] == estimator.predict(x)).mean() > 0.99
    np.testing.assert_allclose(answers["probabilities"], estimator.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize(
    "estimator",
    [
        QuadraticDiscriminantAnalysis(),
        OneVsRestClassifier(LogisticRegression()),
        BaggingClassifier(LogisticRegression(), 3, random_state=0),
    ],
    ids=["quadratic", "one-vs-rest", "bagging"],
)
def test_classifier_in_double(run_graph: agreement.RunGraph, estimator: Any) -> None:
    """Classifiers that Orris does not know give nearly the same probabilities in double."""
    x, y = agreement.iris()
    estimator.fit(x, y)
    graph = Graph(foreign="float64")
    answers = run_graph(graph, foreign.predict(graph, estimator, _frame(4)), 4, x)
    assert (estimator.classes_[answers["label"]] == estimator.predict(x)).all()
    np.testing.assert_allclose(answers["probabilities"], estimator.predict_proba(x), atol=1e-6)
    assert graph.used_foreign == [type(estimator).__name__]


def test_regressor_is_flat(run_graph: agreement.RunGraph) -> None:
    """A regressor's value has shape (n_rows,)."""
    x, y = agreement.diabetes()
    estimator = RANSACRegressor(LinearRegression(), random_state=0).fit(x, y)
    graph = Graph(foreign="float64")
    answers = run_graph(graph, foreign.predict(graph, estimator, _frame(10)), 10, x)
    np.testing.assert_allclose(answers["value"], estimator.predict(x), rtol=1e-9)


@pytest.mark.parametrize("estimator", [PCA(2), TruncatedSVD(2, random_state=0)], ids=["pca", "svd"])
def test_transformer_keeps_its_width(run_graph: agreement.RunGraph, estimator: Any) -> None:
    """A transformer gives a frame as wide as its output, and double again after float32."""
    x, _ = agreement.iris()
    estimator.fit(x)
    tolerances: dict[Kind, float] = {"float64": 1e-12, "float32": 1e-4}
    for kind, tolerance in tolerances.items():
        graph = Graph(foreign=kind)
        frame = foreign.transform(graph, estimator, _frame(4))
        assert frame.width == 2
        answers = run_graph(graph, frame, 4, x)
        assert answers["frame"].dtype == np.float64
        np.testing.assert_allclose(answers["frame"], estimator.transform(x), atol=tolerance)


def test_two_estimators_share_a_graph(run_graph: agreement.RunGraph) -> None:
    """A transformer and a classifier after it do not mix up each other's names."""
    x, y = agreement.iris()
    scaler = StandardScaler().fit(x)
    reduced = PCA(2).fit(scaler.transform(x))
    estimator = LogisticRegression().fit(reduced.transform(scaler.transform(x)), y)
    graph = Graph(foreign="float64")
    frame = foreign.transform(graph, reduced, foreign.transform(graph, scaler, _frame(4)))
    answers = run_graph(graph, foreign.predict(graph, estimator, frame), 4, x)
    np.testing.assert_allclose(
        answers["probabilities"], estimator.predict_proba(reduced.transform(scaler.transform(x))), atol=1e-6
    )
    assert graph.used_foreign == ["StandardScaler", "PCA", "LogisticRegression"]


def test_subgraphs_are_renamed(run_graph: agreement.RunGraph) -> None:
    """A model with a scan inside, put in twice, runs."""
    x, y = agreement.diabetes()
    estimator = GaussianProcessRegressor(alpha=1.0).fit(x[:50], y[:50])
    graph = Graph(foreign="float64")
    foreign.predict(graph, estimator, _frame(10))
    assert any(node.op_type == "Scan" for node in graph.nodes)
    answers = run_graph(graph, foreign.predict(graph, estimator, _frame(10)), 10, x[:60])
    np.testing.assert_allclose(answers["value"], estimator.predict(x[:60]), rtol=1e-6, atol=1e-6)


def test_refused_unless_allowed() -> None:
    """Without leave to use skl2onnx, the estimator is named and refused."""
    x, _ = agreement.iris()
    with pytest.raises(NotConvertibleError, match="PCA"):
        foreign.transform(Graph(), PCA(2).fit(x), _frame(4))


def test_an_estimator_that_skl2onnx_cannot_convert_is_refused_with_its_reason() -> None:
    """An estimator that skl2onnx cannot convert is refused with the class's name and skl2onnx's reason."""
    x, y = agreement.iris()
    estimator, graph = NearestCentroid().fit(x, y), Graph(foreign="float64")
    with pytest.raises(NotConvertibleError, match=r"skl2onnx cannot convert NearestCentroid: .+"):
        foreign.predict(graph, estimator, _frame(4))
    assert graph.used_foreign == []


def test_category_codes_are_refused() -> None:
    """An estimator that is given category codes instead of values is refused."""
    x, _ = agreement.iris()
    frame = Frame(INPUT, (Feature(name="colour", levels=("red", "blue")), *(Feature(),) * 3))
    with pytest.raises(NotConvertibleError, match="colour"):
        foreign.transform(Graph(foreign="float64"), PowerTransformer().fit(x), frame)
