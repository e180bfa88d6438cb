"""Tests of random pipelines on random tables: all that can be fitted are compiled and answer as trained."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from orris.compile import compile_pipeline
from orris.errors import ParityError
from orris.schema.frames import encode
from orris.training.learning import learn_schema, to_training_frame
from tests.compile.random_pipelines import Table, pipelines, tables

N_EXAMPLES = int(os.environ.get("ORRIS_TEST_EXAMPLES", "30"))


@pytest.mark.parametrize("container", ["frame", "array"])
@given(data=st.data())
@settings(
    max_examples=N_EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_compiled_pipelines_answer_as_trained(container: str, data: st.DataObject) -> None:
    """Labels are equal, and numbers within the family's tolerance, on rows of every origin of the parity gate."""
    table = data.draw(tables(container))
    pipeline = data.draw(pipelines(table, container))
    note(f"{pipeline!r}")
    labels = () if table.task == "regression" else tuple(np.unique(table.target).tolist())
    given_rows: Any = table.rows if container == "frame" else table.rows.to_numpy(dtype=np.float64)
    schema = learn_schema(given_rows, target="target", task=table.task, labels=labels)
    rows = encode(schema, given_rows)
    fitted = _fitted(pipeline, to_training_frame(table.rows, schema) if container == "frame" else given_rows, table)
    try:
        verdict = compile_pipeline(fitted, schema, rows, require_compiled=True).verdict
    except ParityError as error:
        # The sum over support vectors of a row of magnitude 1e30 is rounding alone, and so is its sign.
        if "SVC" not in repr(pipeline) or "on extreme rows" not in str(error):
            raise
        assert compile_pipeline(fitted, schema, rows).verdict.strategy == "scikit-learn"
        return
    assert verdict.strategy == "exact", verdict.attempts
    assert verdict.n_label_differences == 0
    assert verdict.largest_difference <= verdict.tolerance
    assert "assumption" not in verdict.unproved
    if verdict.proof is not None and verdict.proof.equality == "bits":
        assert verdict.largest_difference == 0.0


def _fitted(pipeline: Any, rows: Any, table: Table) -> Any:
    """The fitted pipeline.

    A draw that scikit-learn itself does not fit, or with which it answers NaN, is not an example.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            pipeline.fit(rows, table.target)
            pipeline.predict(rows)
            assume(not hasattr(pipeline, "predict_proba") or np.isfinite(pipeline.predict_proba(rows)).all())
        except ValueError as error:
            note(str(error))
            assume(False)
    return pipeline
