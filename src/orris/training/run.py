"""The whole training job: table -> schema -> pipeline -> evaluation -> gates -> proven model -> bundle folder.

``train`` fits a preset or the user's own factory; ``package`` takes a pipeline that is fitted already. Both end in the
same bundle. Publishing is the caller's: a gate that fails leaves no trace.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from orris.errors import TrainingError
from orris.metrics import TASKS_WITHOUT_TARGET, Task
from orris.schema import Label, Reading, Schema
from orris.schema.frames import NO_RULES, encode
from orris.tables.objects import as_rows, as_targets
from orris.training import boosting, learning, pipelines, tuning, unlabelled
from orris.training import gates as gates_of
from orris.training.bundling import Check, Given, Job, Progress, Trained, write_bundle
from orris.training.evaluation import Evaluation, evaluate, evaluate_fitted
from orris.training.fitted import is_fitted, single_target
from orris.training.params import TrainParams
from orris.training.preparation import Prepared, prepare

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline


def train(
    params: TrainParams,
    folder: Path,
    *,
    frame: pd.DataFrame | None = None,
    version: str = "",
    progress: Progress = lambda _: None,
    notify: Progress = lambda _: None,
    check: Check | None = None,
) -> Trained:
    """Train as ``params`` says and write a bundle into ``folder``.

    Args:
        params: What to train.
        folder: An empty folder.
        frame: The table, if it is in memory; otherwise ``params.table`` is read.
        version: The bundle's version; by default ``default_version()``.
        progress: Told what is being done.
        notify: Told, before anything is fitted, what is suspicious about the table; the report says it too.
        check: Compares the built model with the pipeline on raw rows.

    Raises:
        TableError, SchemaError: The table cannot be used; names file, row or column.
        TrainingError, GateError: The model cannot be trained, or a gate refuses it.
        CompileError: No way of serving it passes the parity gate.
    """
    ready = prepare(params, frame, progress)
    for notice in ready.notices:
        notify(str(notice))
    X, y, task = ready.X, ready.y, ready.task
    progress("learning the columns")
    about = _about_table(params, ready)
    schema = about.learn(X)
    given = Given(None, X, Path(params.table) if frame is None else None)
    X = learning.to_training_frame(X, schema)
    targets = y.to_numpy(dtype=np.float64) if task == "regression" else np.array(y.tolist())
    pipeline = _pipeline(params, schema)
    parameters = msgspec.to_builtins(params)
    parameters["model"] = params.model or ("" if params.pipeline else pipelines.PRESETS[task][0])
    if params.tune:
        pipeline, parameters["tuned"] = _tuned(pipeline, params, X, targets, progress)
    progress("evaluating")
    evaluation = _evaluated(pipeline, params, X, targets, schema, progress)
    evaluation = replace(evaluation, notes=[*map(str, ready.notices), *evaluation.notes])
    gates = _checked_gates(params, evaluation)
    progress("fitting on all rows")
    _fit(pipeline, X, targets)
    if params.model in boosting.LIBRARIES:
        parameters["rounds"] = pipeline[-1].n_rounds_
    if params.pipeline:  # what it reads and which levels its encoders hold is known only now
        schema = about.learn(X, fitted=pipeline)
    job = Job(
        pipeline,
        schema,
        encode(schema, X),
        targets,
        evaluation,
        gates,
        Path(params.table).name if frame is None else "",
        parameters,
        replace(given, pipeline=pipeline, reference=X),
    )
    return write_bundle(job, folder, params.name, version, params.require_compiled, progress, check)


def _tuned(
    pipeline: Pipeline,
    params: TrainParams,
    X: pd.DataFrame | npt.NDArray[Any],
    targets: npt.NDArray[Any],
    progress: Progress,
) -> tuple[Pipeline, dict[str, str]]:
    """The best candidate, and its parameters as text."""
    progress(f"tuning over {params.tune} candidates")
    best, parameters, _ = tuning.tune(
        pipeline,
        params.model,
        X,
        targets,
        n=params.tune,
        seed=params.seed,
        folds=params.folds,
        progress=lambda done, total: progress(f"tuning {done}/{total}"),
    )
    return best, {key: repr(value) for key, value in parameters.items()}


def _evaluated(
    pipeline: Pipeline,
    params: TrainParams,
    X: pd.DataFrame | npt.NDArray[Any],
    targets: npt.NDArray[Any],
    schema: Schema,
    progress: Progress,
) -> Evaluation:
    return evaluate(
        pipeline,
        X,
        targets,
        schema,
        test_size=params.test_size,
        folds=params.folds,
        seed=params.seed,
        learning_curve=params.learning_curve,
        progress=lambda step, done, total: progress(f"{step} ({done}/{total})"),
    )


def package(
    pipeline: Any,
    X: Any,
    y: Any,
    folder: Path,
    *,
    name: str,
    version: str = "",
    target: str = "",
    params: TrainParams | None = None,
    progress: Progress = lambda _: None,
    check: Check | None = None,
) -> Trained:
    """Write a bundle of a pipeline that the caller has fitted.

    Args:
        pipeline: A fitted scikit-learn classifier, regressor, detector of outliers, clusterer or Pipeline.
        X: Rows like those it was fitted on, best those themselves: a DataFrame or an array ``(n_rows, n_columns)``.
        y: Their targets, ``(n_rows,)``; ``None`` for a model that is fitted without.
        folder: An empty folder.
        name: The model's name.
        version: The bundle's version; by default ``default_version()``.
        target: Name of the target; by default that of ``y``, or ``target``.
        params: Categorical columns, bounds, gates and whether a compiled model is required; other settings are not
            used.
        progress: Told what is being done.
        check: Compares the built model with the pipeline on raw rows.

    Raises:
        SchemaError, TrainingError, GateError, CompileError: As ``train``.
    """
    params = params or TrainParams(name=name, bounds={})
    _check_fitted(pipeline)
    pipeline = single_target(pipeline)
    rows = as_rows(X)
    about = _about_fitted(pipeline, rows, y, target, params)
    schema = about.learn(rows, fitted=pipeline)
    progress("evaluating")
    if about.task in TASKS_WITHOUT_TARGET:
        targets = unlabelled.codes_of(pipeline, rows, about.labels)
        evaluation = unlabelled.evaluate_unlabelled(targets, schema)
    else:
        targets = as_targets(y)
        if len(rows) != len(targets):
            raise TrainingError(f"X has {len(rows)} rows and y has {len(targets)}: give one target per row")
        evaluation = evaluate_fitted(pipeline, rows, targets, schema)
    gates = _checked_gates(params, evaluation)
    parameters = {"pipeline": type(pipeline).__name__, "packaged": True}
    given = Given(pipeline, X)
    job = Job(pipeline, schema, encode(schema, rows), targets, evaluation, gates, "", parameters, given)
    return write_bundle(job, folder, name, version, params.require_compiled, progress, check)


def _about_table(params: TrainParams, ready: Prepared) -> _About:
    """The facts of a model that is trained on a table."""
    return _About(
        target=params.target,
        task=ready.task,
        labels=_labels(ready.y) if ready.task == "classification" else (),
        declared=replace(params.declared(), categorical=ready.categorical),
        reading=Reading(**asdict(ready.rules)),
        others=ready.dropped,
    )


def _about_fitted(pipeline: Any, rows: Any, y: Any, target: str, params: TrainParams) -> _About:
    """The facts of a model that the caller has fitted.

    Raises:
        TrainingError: It is fitted to a target and ``y`` is missing, or the other way round.
    """
    name = type(pipeline).__name__
    task = unlabelled.task_of(pipeline)
    if task is not None and y is not None:
        raise TrainingError(f"{name} has no target, so leave out y: package(model, X, name=…)")
    if task is not None:
        labels = unlabelled.labels_of(pipeline, task, rows)
        return _About(target or unlabelled.TARGETS[task], task, labels, params.declared())
    if y is None:
        raise TrainingError(f"{name} is fitted to a target, so y is needed: package(model, X, y, name=…)")
    classes = learning.classes_of(pipeline)
    return _About(
        target=target or str(getattr(y, "name", "") or "target"),
        task="regression" if classes is None else "classification",
        labels=() if classes is None else tuple(np.asarray(classes).tolist()),
        declared=params.declared(),
    )


def _check_fitted(pipeline: Any) -> None:
    if not hasattr(pipeline, "predict"):
        raise TrainingError(
            f"{type(pipeline).__name__} has no predict: a fitted classifier, regressor or Pipeline is needed"
        )
    if not is_fitted(pipeline):
        raise TrainingError(f"{type(pipeline).__name__} is not fitted: call its fit(X, y) before you package it")


@dataclass(frozen=True)
class _About:
    """The facts of a model beside its rows."""

    target: str
    task: Task
    labels: tuple[Label, ...]
    declared: learning.Declared
    reading: Reading = NO_RULES
    others: tuple[str, ...] = ()

    def learn(self, X: Any, fitted: Any = None) -> Schema:
        """The schema of a model that is fitted on ``X``."""
        return learning.learn_schema(
            X,
            target=self.target,
            task=self.task,
            labels=self.labels,
            declared=self.declared,
            fitted=fitted,
            reading=self.reading,
            others=self.others,
        )


def _labels(y: pd.Series[Any]) -> tuple[Label, ...]:
    labels = tuple(np.unique(np.array(y.tolist())).tolist())
    if len(labels) < 2:
        raise TrainingError(f"the target '{y.name}' holds a single class; at least two are needed to classify")
    return labels


def _pipeline(params: TrainParams, schema: Schema) -> Any:
    if params.pipeline:
        return pipelines.from_factory(params.pipeline, schema)
    return pipelines.build(params.model, schema, seed=params.seed, parameters=params.model_parameters)


def _checked_gates(params: TrainParams, evaluation: Evaluation) -> tuple[gates_of.GateResult, ...]:
    """The gates with the measured values; raises ``GateError`` if one fails."""
    gates = [gates_of.parse_gate(gate) for gate in params.gates]
    gates_of.check_gates(gates, evaluation.metrics)
    return gates_of.measure_gates(gates, evaluation.metrics)


def _fit(pipeline: Any, X: Any, targets: npt.NDArray[Any]) -> None:
    # One thread: the order of additions, and so the model, does not depend on the machine's cores.
    with warnings.catch_warnings(), threadpool_limits(1, user_api="blas"):
        warnings.simplefilter("ignore")
        try:
            pipeline.fit(X, targets)
        except Exception as error:
            raise TrainingError(f"the pipeline cannot be fitted: {error}") from error
