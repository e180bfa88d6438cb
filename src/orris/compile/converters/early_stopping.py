"""Converters of the presets of the boosting libraries (``orris.training.boosting``): the estimator inside answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from orris.compile.dispatch import predict
from orris.compile.graph import Feature, Frame, Graph, Prediction
from orris.compile.registry import predictor


@predictor(
    "orris.training.boosting.EarlyStoppedClassifier",
    "orris.training.boosting.EarlyStoppedRegressor",
    takes_single=True,
)
def early_stopped(graph: Graph, model: Any, frame: Frame) -> Prediction:
    """Its estimator; CatBoost is given the codes of categories as integers, and knows them by their text."""
    if model.library == "catboost" and model.n_categories:
        frame = _as_categories(graph, frame, model.n_levels_)
    return predict(graph, model.estimator_, replace(frame, single=False))


def _as_categories(graph: Graph, frame: Frame, n_levels: list[int]) -> Frame:
    """The first columns, which hold the codes -2 (missing), -1 (unknown), 0, 1, …, as categories of these integers."""
    shifts = np.zeros((1, frame.width))
    shifts[0, : len(n_levels)] = 2.0
    coded = tuple(Feature(levels=tuple(range(-2, n))) for n in n_levels)
    tensor = graph.add("Add", frame.tensor, graph.constant(shifts))
    return replace(frame, tensor=tensor, features=(*coded, *frame.features[len(n_levels) :]))
