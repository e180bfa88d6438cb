"""The model that every peer serves, fitted in the peer's own environment so that versions agree.

Iris: ``StandardScaler`` and ``LogisticRegression``, the classes as the integers 0, 1, 2. Each ``prepare.py`` packages
it in its peer's way.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

WORK = Path(os.environ.get("PEER_WORK", "."))
"""The folder that the peer's files go to; the runner says which."""


def fitted(*, frame: bool = False) -> Any:
    """The fitted pipeline.

    Args:
        frame: Fit on a pandas DataFrame with named columns, for a server that makes one of every request, rather than
            on an array.
    """
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = load_iris(return_X_y=True, as_frame=frame)
    if frame:
        rows.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, classes)


def dump(*, frame: bool = False) -> None:
    """Write ``model.joblib`` into ``WORK``."""
    import joblib

    joblib.dump(fitted(frame=frame), WORK / "model.joblib")
