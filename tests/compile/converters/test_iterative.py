"""Iterative imputation over linear models agrees with scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the imputer importable)
from sklearn.impute import IterativeImputer
from sklearn.linear_model import Ridge

from orris.compile.dispatch import transform
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from orris.schema.arrays import FloatArray
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine}


def _with_gaps(x: FloatArray, seed: int) -> FloatArray:
    return np.where(np.random.default_rng(seed).random(x.shape) < 0.15, np.nan, x)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "setting",
    [{}, {"estimator": Ridge()}, {"add_indicator": True}, {"min_value": -1.0, "max_value": 1.5}, {"max_iter": 0}],
    ids=str,
)
def test_gaps_are_filled_as_scikit_learn_fills_them(run_graph: Any, table: str, setting: dict[str, Any]) -> None:
    """Every round of predictions, with bounds and indicators, gives scikit-learn's values."""
    x, _ = TABLES[table]()
    step = IterativeImputer(**({"max_iter": 4, "random_state": 0} | setting)).fit(_with_gaps(x, 0))
    rows = np.concatenate([_with_gaps(x, 1), x * 2.0])
    graph = Graph()
    frame = transform(graph, step, Frame(INPUT, (Feature(),) * x.shape[1]))
    found = run_graph(graph, frame, x.shape[1], rows)["frame"]
    np.testing.assert_allclose(found, step.transform(rows), rtol=1e-9, atol=1e-9)


def test_random_answers_are_refused() -> None:
    """Samples of the posterior differ from call to call."""
    x, _ = agreement.iris()
    step = IterativeImputer(sample_posterior=True, max_iter=2, tol=10.0, random_state=0).fit(_with_gaps(x, 0))
    with pytest.raises(NotConvertibleError, match="random"):
        transform(Graph(), step, Frame(INPUT, (Feature(),) * 4))
