"""The whole training job: table -> schema -> pipeline -> evaluation -> gates -> proven model -> bundle folder.

``train`` fits a preset or the user's own factory; ``package`` takes a pipeline that is fitted already. Both end in the
same bundle. Publishing is the caller's: a gate that fails leaves no trace.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from orris.bundle import SINGLE, Golden, Manifest, Provenance, seal, write_profile
from orris.compile import Compiled, compile_pipeline, examine_float32
from orris.errors import TrainingError
from orris.metrics import TASKS_WITHOUT_TARGET, Task
from orris.runtime import Answers
from orris.schema import Kind, Label, Reading, Schema
from orris.schema.arrays import FloatArray
from orris.schema.columns import UNSEEN
from orris.schema.frames import NO_RULES, encode
from orris.tables.objects import as_rows, as_targets
from orris.training import boosting, learning, pipelines, tuning, unlabelled
from orris.training import gates as gates_of
from orris.training.evaluation import Evaluation, evaluate, evaluate_fitted
from orris.training.fitted import is_fitted, single_target
from orris.training.params import TrainParams
from orris.training.preparation import prepare
from orris.training.profiling import learn_profile
from orris.training.report import document as report
from orris.training.report import plots
from orris.training.split_gain import library_importance
from orris.version import __version__

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

Progress = Callable[[str], None]

MAX_EXAMPLES = 12
"""Training rows that a bundle holds as examples."""

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx", "skops")


@dataclass(frozen=True)
class Trained:
    """A sealed bundle folder, and its facts for a person.

    Attributes:
        folder: The bundle.
        manifest: Its manifest.
        evaluation: Metrics, report text and what the plots show.
    """

    folder: Path
    manifest: Manifest
    evaluation: Evaluation


def default_version() -> str:
    """``1.0.<UTC timestamp>``: SemVer, and a valid container tag."""
    return f"1.0.{datetime.now(UTC):%Y%m%d%H%M%S}"


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
    about = _About(
        target=params.target,
        task=task,
        labels=_labels(y) if task == "classification" else (),
        declared=replace(params.declared(), categorical=ready.categorical),
        reading=Reading(**asdict(ready.rules)),
        others=ready.dropped,
    )
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
    evaluation = evaluate(
        pipeline,
        X,
        targets,
        schema,
        test_size=params.test_size,
        folds=params.folds,
        seed=params.seed,
        learning_curve=params.learning_curve,
        progress=lambda what, done, total: progress(f"{what} ({done}/{total})"),
    )
    evaluation = replace(evaluation, notes=[*map(str, ready.notices), *evaluation.notes])
    gates = _checked_gates(params, evaluation)
    progress("fitting on all rows")
    _fit(pipeline, X, targets)
    if params.model in boosting.LIBRARIES:
        parameters["rounds"] = pipeline[-1].n_rounds_
    if params.pipeline:  # what it reads and which levels its encoders hold is known only now
        schema = about.learn(X, fitted=pipeline)
    job = _Job(
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
    return _bundle(job, folder, params.name, version, params.require_compiled, progress, check)


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
    about = _about(pipeline, rows, y, target, params)
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
    job = _Job(pipeline, schema, encode(schema, rows), targets, evaluation, gates, "", parameters, given)
    return _bundle(job, folder, name, version, params.require_compiled, progress, check)


def _about(pipeline: Any, rows: Any, y: Any, target: str, params: TrainParams) -> _About:
    """What a fitted pipeline answers.

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
class Given:
    """What the caller gave, untouched: the raw rows on which a built model is compared with the pipeline.

    Attributes:
        pipeline: The fitted pipeline.
        rows: The caller's own object.
        file: The file that it was read from, if it was.
        reference: What the pipeline answers in place of ``rows``: what it was fitted on.
    """

    pipeline: Any
    rows: Any
    file: Path | None = None
    reference: Any = None


Check = Callable[[Path, Given], dict[str, int]]
"""``(bundle folder, what was given) -> rows compared, by route``; raises ``ParityError`` if an answer differs."""


@dataclass(frozen=True)
class _About:
    """What is known of a model beside its rows."""

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


@dataclass(frozen=True)
class _Job:
    """A fitted pipeline on its way into a bundle."""

    pipeline: Any
    schema: Schema
    rows: FloatArray
    targets: npt.NDArray[Any]
    evaluation: Evaluation
    gates: tuple[gates_of.GateResult, ...]
    table: str
    parameters: Mapping[str, Any]
    given: Given


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


def _bundle(
    job: _Job,
    folder: Path,
    name: str,
    version: str,
    require_compiled: bool,
    progress: Progress,
    check: Check | None,
) -> Trained:
    """Compile, prove, compare on raw rows, draw, report, seal."""
    compiled = compile_pipeline(
        job.pipeline, job.schema, job.rows, require_compiled=require_compiled, progress=progress
    )
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in compiled.files.items():
        (folder / file).write_bytes(content)
    progress("comparing tables of float32")
    float32, single = examine_float32(job.pipeline, compiled, job.rows)
    if single:
        (folder / SINGLE).write_bytes(single)
    created = datetime.now(UTC)
    seal_with = partial(
        seal,
        folder,
        name=name,
        version=version or default_version(),
        created=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        orris=__version__,
        model_file=compiled.model_file,
        front_file=compiled.front_file,
        schema=compiled.schema,
        golden=_golden(compiled),
        examples=_examples(job.rows, job.targets, compiled),
        float32=float32,
        metrics=job.evaluation.metrics,
        provenance=_provenance(job),
    )
    manifest = seal_with(verdict=compiled.verdict)
    if check is not None:
        progress("comparing raw rows through every way in")
        verdict = msgspec.structs.replace(compiled.verdict, rows_by_route=check(folder, job.given))
        compiled = replace(compiled, verdict=verdict)
    progress("writing the report")
    drawn = plots.draw(job.evaluation, compiled.schema, folder / "plots")
    report.write_report(
        folder,
        name=name,
        version=manifest.version,
        schema=compiled.schema,
        evaluation=job.evaluation,
        provenance=_told(manifest.provenance),
        verdict=compiled.verdict,
        plots=drawn,
        parameters=job.parameters,
        gates=job.gates,
        importance=library_importance(job.pipeline, compiled.schema.names),
    )
    progress("learning what drift is measured against")
    write_profile(folder, learn_profile(compiled.schema, job.rows, compiled.runtime))
    return Trained(folder, seal_with(verdict=compiled.verdict), job.evaluation)


def _provenance(job: _Job) -> Provenance:
    return Provenance(
        data_digest=_data_digest(job.rows, job.targets),
        n_rows=len(job.rows),
        table=job.table,
        git_commit=_git_commit(),
        python=platform.python_version(),
        libraries={library: metadata.version(library) for library in _LIBRARIES} | _boosters_used(),
        parameters=dict(job.parameters),
    )


def _boosters_used() -> dict[str, str]:
    """Versions of the boosting libraries that are imported, which is where a model of theirs was met."""
    found = {library: sys.modules.get(library) for library in ("catboost", "lightgbm", "xgboost")}
    return {library: str(module.__version__) for library, module in found.items() if module is not None}


def _examples(rows: FloatArray, targets: npt.NDArray[Any], compiled: Compiled) -> Golden:
    """Training rows for pages that show the model: complete ones first, classes in turn, spread over the target.

    Rows with categories that the model does not know are left out: their text is not in the schema.
    """
    categories = [i for i, column in enumerate(compiled.schema.columns) if column.kind is Kind.CATEGORY]
    known = np.flatnonzero((rows[:, categories] != UNSEEN).all(axis=1))
    complete = known[~np.isnan(rows[known]).any(axis=1)]
    chosen = complete if len(complete) >= MAX_EXAMPLES else known
    if not len(chosen):
        return Golden(())
    target = targets[chosen]
    if compiled.schema.task == "regression":
        groups = [np.argsort(target, kind="stable")]
    else:
        groups = [np.flatnonzero(target == label) for label in np.unique(target)]
    spread = [group[np.unique(np.linspace(0, len(group) - 1, MAX_EXAMPLES).astype(int))].tolist() for group in groups]
    in_turn = [row for turn in zip_longest(*spread) for row in turn if row is not None]
    sample = rows[chosen[in_turn[:MAX_EXAMPLES]]]
    return _rows_with_answers(sample, compiled.runtime.run(sample))


def _golden(compiled: Compiled) -> Golden:
    """The golden rows; one whose answer no JSON number holds, and which a server would refuse, is left out."""
    return _rows_with_answers(compiled.golden_rows, compiled.golden_answers)


def _rows_with_answers(rows: FloatArray, answers: Answers) -> Golden:
    """Rows that have finite answers, with them."""
    finite = np.ones(len(rows), dtype=bool)
    for numbers in (answers.probabilities, answers.values, answers.scores):
        if numbers is not None:
            finite &= np.isfinite(numbers.reshape(len(finite), -1)).all(axis=1)
    kept = rows[finite].tolist()
    return Golden(
        tuple(tuple(None if np.isnan(value) else value for value in row) for row in kept),
        labels=() if answers.labels is None else tuple(answers.labels[finite].tolist()),
        probabilities=()
        if answers.probabilities is None
        else tuple(map(tuple, answers.probabilities[finite].tolist())),
        values=() if answers.values is None else tuple(answers.values[finite].tolist()),
        scores=() if answers.scores is None else tuple(answers.scores[finite].tolist()),
    )


def _data_digest(rows: FloatArray, targets: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes())
    digest.update("\n".join(map(str, targets.tolist())).encode())
    return digest.hexdigest()


def _git_commit() -> str:
    """The commit of the working tree, with ``+dirty`` if it has changes; empty outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603, S607
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _told(provenance: Provenance) -> dict[str, str]:
    """The provenance as the report's table shows it."""
    told = {
        "Training rows": f"{provenance.n_rows:,}",
        "Table": provenance.table or "in memory",
        "Data digest (sha256)": provenance.data_digest,
        "Git commit": provenance.git_commit or "none",
        "Python": provenance.python,
    }
    return told | provenance.libraries
