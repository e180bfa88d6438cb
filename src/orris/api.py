"""Orris from Python: ``orris.train``, ``orris.package``, ``orris.load``, ``orris.serve``.

With ``cli`` the only place where the stages are joined.
"""

from __future__ import annotations

import decimal
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from orris import boosters
from orris.bundle import Manifest, read_manifest
from orris.errors import MissingExtraError, Problem, RowError, ServingError, SettingsError, TableError
from orris.schema import Bounds, Schema
from orris.schema.arrays import FloatArray
from orris.schema.checks import check
from orris.schema.frames import encode, is_missing
from orris.schema.names import MAX_UNKNOWN
from orris.schema.strict import encode as encode_rows
from orris.settings import DEFAULT_STORE
from orris.store import Reference, Store, as_version, check_name, locate
from orris.tables.objects import as_rows
from orris.tables.precision import Answering, answering, lower
from orris.verdict import NUMBERS, Mixture, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from orris.runtime import Answers
    from orris.serving.engine import Engine
    from orris.serving.protocol import Protocol
    from orris.training.bundling import Progress, Trained
    from orris.training.params import TrainParams


_TRAIN_SETTINGS = (
    *("target", "name", "model", "pipeline", "task", "drop", "categorical", "bounds", "required", "integer", "closed"),
    *("test_size", "folds", "seed", "tune", "learning_curve", "gates", "model_parameters", "require_compiled"),
    *("decimal", "thousands", "strict", "skip_bad_lines"),
)


class InputWarning(UserWarning):
    """Rows were answered, and something of them was ignored or converted."""


@dataclass(frozen=True)
class Bundle:
    """A packaged, proven model on disk.

    Attributes:
        folder: The bundle's folder: in the store if it was published, otherwise where it was built.
        manifest: What it holds.
    """

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The version."""
        return self.manifest.version

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics of the evaluation."""
        return self.manifest.metrics

    @property
    def verdict(self) -> Verdict:
        """The result of the parity gate."""
        return self.manifest.verdict

    def publish(self, store: str | Path = "", *, aliases: Sequence[str] = ("latest",)) -> Bundle:
        """Publish to a store; returns the published bundle.

        Raises:
            VersionExistsError: That version is there already.
        """
        target = Store(default_store(store))
        reference = target.publish(self.folder, aliases=aliases)
        return Bundle(target.fetch(reference), self.manifest)


class Model:
    """A loaded model: the engine of the server, for Python.

    Rows may be a table of pandas, polars or pyarrow (columns by name), an array ``(n_rows, n_columns)``, a Series as
    one row, a dict of lists, or a list of rows, each a ``dict`` or a list in the order of the schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._further: dict[str, Engine] = {}

    @property
    def engine(self) -> Engine:
        """The server's engine, which reads rows and runs the model."""
        return self._engine

    @property
    def manifest(self) -> Manifest:
        """The bundle's description of the model."""
        return self._engine.manifest

    @property
    def schema(self) -> Schema:
        """The model's columns and labels."""
        return self._engine.schema

    def predict(self, rows: Any) -> npt.NDArray[Any]:
        """Labels as the fitted classifier gives them, or float64 values; ``(n_rows,)``.

        Raises:
            RowError: Rows that a server would refuse; names row and column.
        """
        answers = self._answers(rows)
        if answers.values is not None:
            return answers.values
        return np.asarray(np.array(self.schema.labels)[answers.labels])

    def predict_proba(self, rows: Any) -> FloatArray:
        """Probabilities, float64 ``(n_rows, n_classes)``, columns in the order of ``schema.labels``.

        Raises:
            RowError: Rows that a server would refuse; names row and column.
            ServingError: The model has no probabilities.
        """
        answers = self._answers(rows)
        if answers.probabilities is None:
            raise ServingError(f"{self.manifest.name} has no probabilities: the fitted model has no predict_proba")
        return answers.probabilities

    def score(self, rows: Any) -> FloatArray:
        """The scores beside the labels of a detector of outliers or a clusterer, float64 ``(n_rows,)``.

        Raises:
            RowError: Rows that a server would refuse; names row and column.
            ServingError: The model has no score.
        """
        answers = self._answers(rows)
        if answers.scores is None:
            raise ServingError(f"{self.manifest.name} has no score: it is no detector of outliers and no clusterer")
        return answers.scores

    def _answers(self, rows: Any) -> Answers:
        """The answers of the model of the table's precision; warns of what is ignored or converted."""
        unknown: dict[str, None] = {}
        engine = self._engine
        if _are_plain(rows):
            rows = [rows] if isinstance(rows, Mapping) else list(rows)
            encoded = encode_rows(self.schema, [_plain_row(row) for row in rows], max(1, len(rows)), unknown)
        else:
            try:
                table = as_rows(rows)
            except TableError as error:
                raise RowError([Problem(None, None, str(error))]) from None
            precision = self._precision_of(table)
            engine = self._engine_of(precision)
            schema = self.schema.in_float64() if precision == "float64" else self.schema
            encoded = encode(schema, table, unknown)
            check(self.schema, encoded)
        if unknown:
            names = ", ".join(map(repr, list(unknown)[:MAX_UNKNOWN]))
            text = f"columns that are not in the model's schema were ignored: {names}"
            warnings.warn(text, InputWarning, stacklevel=3)
        return engine.run(encoded)

    def _precision_of(self, table: Any) -> Answering:
        """Which of the bundle's models answers a table as the fitted pipeline does: that of the table's precision.

        Raises:
            RowError: None does; names a column and its type.
        """
        manifest = self.manifest
        whole: dict[Answering, bool] = {"float32": bool(manifest.float32), "float64": bool(manifest.float64)}
        # Older bundles, of which this was not found out, answer every table in the contract's precision and warn.
        others: Mapping[str, Mixture] = manifest.others or {}
        if manifest.others is None:
            others = dict.fromkeys(NUMBERS, "anywhere")
        precision = answering(self.schema, table, whole, others)
        if manifest.others is None and precision == "contract":
            for column, dtype in lower(self.schema, table):
                text = (
                    f"column '{column.name}' is {dtype}, and the model computes in {column.dtype}, which it was fitted"
                    f" on: the answers are those to rows.astype('{column.dtype}')"
                )
                warnings.warn(text, InputWarning, stacklevel=4)
                break
        return precision

    def _engine_of(self, precision: Answering) -> Engine:
        """The model for tables of this precision; a further model reproduces its golden rows when it is opened.

        Raises:
            RowError: Nothing answers them as the pipeline does.
            ServingError: The further model does not load, or does not reproduce its golden rows.
        """
        kind = self.manifest.float32 if precision == "float32" else self.manifest.float64
        if precision == "contract" or kind == "same":
            return self._engine
        if kind == "refused":
            other = "float64" if precision == "float32" else "float32"
            text = (
                f"the table's floats are {precision}, and the model was fitted on {other}: scikit-learn computes such a"
                f" table in {precision}, and no compiled model does so in the same way. Give rows.astype('{other}'), or"
                f" fit on {precision} and package that model"
            )
            raise RowError([Problem(None, None, text)])
        if precision not in self._further:
            self._further[precision] = self._engine.further(precision)
        return self._further[precision]

    def __repr__(self) -> str:
        return f"<orris.Model {self.manifest.name}@{self.manifest.version}>"


def train(
    table: str | Path | pd.DataFrame | None = None,
    *,
    target: str | None = None,
    store: str | Path | None = "",
    version: str = "",
    aliases: Sequence[str] = ("latest",),
    name: str | None = None,
    model: str | None = None,
    pipeline: str | None = None,
    task: Literal["classification", "regression"] | None = None,
    drop: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    bounds: Mapping[str, Bounds | Mapping[str, Any]] | None = None,
    required: Sequence[str] | None = None,
    integer: Sequence[str] | None = None,
    closed: Sequence[str] | None = None,
    test_size: float | None = None,
    folds: int | None = None,
    seed: int | None = None,
    tune: int | None = None,
    learning_curve: bool | None = None,
    gates: Sequence[str] | None = None,
    model_parameters: Mapping[str, Any] | None = None,
    require_compiled: bool | None = None,
    decimal: Literal["", ".", ","] | None = None,
    thousands: str | None = None,
    strict: bool | None = None,
    skip_bad_lines: bool | None = None,
) -> Bundle:
    """``orris train`` from Python: train, evaluate, prove, package and publish.

    Args:
        table: A CSV or Parquet file, or a table of pandas, polars or pyarrow; by default the bundled iris table.
        target: The column to predict.
        store: Where to publish; by default ``ORRIS_STORE``, or ``./artifacts``; ``None`` builds the bundle in a
            temporary folder and publishes nothing.
        version: The version; by default ``1.0.<UTC timestamp>``.
        aliases: Aliases to move to the new version.
        name: The model's name; by default the table's, or the target's.
        model: A preset, such as ``logistic`` or ``forest``.
        pipeline: ``package.module:factory`` of a pipeline of your own, in place of a preset.
        task: By default chosen from the target.
        drop: Columns to leave out.
        categorical: Columns that are categories though they hold whole numbers, or many or date-like texts.
        bounds: Hard bounds by column; a row outside them is refused.
        required: Columns that must not be missing, whatever the model takes.
        integer: Columns that must hold whole numbers, whatever the model takes.
        closed: Categories whose known levels are all there are, whatever the model takes.
        test_size: Share of the rows that is held out.
        folds: Folds of the cross-validation; 0: none.
        seed: Of every random draw.
        tune: Candidates of the random search; 0: none.
        learning_curve: Score the model on growing parts of the training rows, for the report.
        gates: Conditions such as ``accuracy>=0.9``; if one fails, nothing is published.
        model_parameters: The model's parameters, by scikit-learn's names.
        require_compiled: Fail rather than serve through scikit-learn.
        decimal: The decimal mark of a CSV's numbers; by default it is found out.
        thousands: What separates thousands in a CSV's numbers; by default nothing does.
        strict: What would be a notice about the table's values is an error.
        skip_bad_lines: Leave out and count the lines of a CSV with too few or too many values.

    Raises:
        OrrisError: See ``orris.training.run.train``.
    """
    given = {key: value for key, value in locals().items() if key in _TRAIN_SETTINGS and value is not None}
    _require_training()
    from orris.training.params import TrainParams, override  # noqa: PLC0415

    frame = None
    if isinstance(table, str | Path):
        given["table"] = str(table)
    elif table is not None:
        frame = table if hasattr(table, "iloc") else as_rows(table)
    if table is not None and target is None:
        raise SettingsError("orris.train: say which column of the table to predict: target=…")
    settings = override(TrainParams(), **given)
    return train_params(settings, frame=frame, store=store, version=version, aliases=aliases)


def train_params(
    params: TrainParams,
    *,
    frame: pd.DataFrame | None = None,
    store: str | Path | None,
    version: str = "",
    aliases: Sequence[str] = ("latest",),
    progress: Progress | None = None,
    notify: Progress | None = None,
    done: Any = None,
) -> Bundle:
    """``train`` for settings that are read already.

    Args:
        params: What to train.
        frame: The table, if it is in memory.
        store: Where to publish; ``None``: nowhere.
        version: The version; by default ``1.0.<UTC timestamp>``. A leading ``v`` is dropped.
        aliases: Aliases to move to the new version.
        progress: Told what is being done.
        notify: Told, before anything is fitted, what is suspicious about the table.
        done: Told the ``Trained`` before it is published.
    """
    _require_training()
    from orris.routes import compare  # noqa: PLC0415
    from orris.training import run  # noqa: PLC0415

    version = _checked(params.name, version, store, aliases)
    quiet: Progress = lambda _: None  # noqa: E731 (shorter than a function)
    with _building(keep=store is None) as folder:
        trained = run.train(
            params,
            folder,
            frame=frame,
            version=version,
            progress=progress or quiet,
            notify=notify or quiet,
            check=compare,
        )
        if done is not None:
            done(trained)
        return _published(trained, store, aliases)


def package(
    pipeline: Any,
    X: Any,
    y: Any = None,
    *,
    name: str,
    store: str | Path | None = "",
    version: str = "",
    target: str = "",
    categorical: Sequence[str] = (),
    bounds: Mapping[str, Bounds] | None = None,
    required: Sequence[str] = (),
    integer: Sequence[str] = (),
    closed: Sequence[str] = (),
    gates: Sequence[str] = (),
    require_compiled: bool = False,
    aliases: Sequence[str] = ("latest",),
    progress: Progress | None = None,
) -> Bundle:
    """Package a pipeline that you have fitted: learn its schema, compile it, prove it, publish it.

    Args:
        pipeline: A fitted scikit-learn classifier, regressor or Pipeline; an estimator or a native object of XGBoost,
            LightGBM or CatBoost.
        X: The rows that it was fitted on: a table of pandas, polars or pyarrow, an array ``(n_rows, n_columns)``, or
            lists. They are the reference: what is served answers them as ``pipeline.predict(X)`` does.
        y: Their targets, ``(n_rows,)`` or ``(n_rows, 1)``; none for a detector of outliers or a clusterer.
        name: The model's name.
        store: Where to publish; by default ``ORRIS_STORE``, or ``./artifacts``; ``None`` builds the bundle in a
            temporary folder and publishes nothing.
        version: The version; by default ``1.0.<UTC timestamp>``.
        target: Name of the target; by default that of ``y``.
        categorical: Integer columns that are categories.
        bounds: Hard bounds by column; a row outside them is refused.
        required: Columns that must not be missing, whatever the model takes.
        integer: Columns that must hold whole numbers, whatever the model takes.
        closed: Categories whose known levels are all there are, whatever the model takes.
        gates: Conditions such as ``accuracy>=0.9``; if one fails, nothing is published.
        require_compiled: Raise rather than fall back to scikit-learn at serving time.
        aliases: Aliases to move to the new version.
        progress: Is given each step as it begins; ``print``, for example.

    Raises:
        OrrisError: See ``orris.training.run.package``.
    """
    _require_training()
    from orris.routes import compare  # noqa: PLC0415
    from orris.training import run  # noqa: PLC0415
    from orris.training.params import TrainParams  # noqa: PLC0415

    pipeline = boosters.adopt(pipeline, [str(column) for column in X.columns] if hasattr(X, "columns") else None)
    params = TrainParams(
        name=name,
        categorical=tuple(dict.fromkeys([*categorical, *boosters.integer_categories(pipeline, X)])),
        bounds=dict(bounds or {}),
        required=tuple(required),
        integer=tuple(integer),
        closed=tuple(closed),
        gates=tuple(gates),
        require_compiled=require_compiled,
    )
    version = _checked(name, version, store, aliases)
    with _building(keep=store is None) as folder:
        trained = run.package(
            pipeline,
            X,
            y,
            folder,
            name=name,
            version=version,
            target=target,
            params=params,
            progress=progress or (lambda _: None),
            check=compare,
        )
        return _published(trained, store, aliases)


def package_file(
    model: str | Path,
    table: str | Path | pd.DataFrame,
    *,
    target: str,
    name: str,
    drop: Sequence[str] = (),
    categorical: Sequence[str] = (),
    gates: Sequence[str] = (),
    require_compiled: bool = False,
    store: str | Path | None = "",
    version: str = "",
    aliases: Sequence[str] = ("latest",),
    progress: Progress | None = None,
) -> Bundle:
    """Package a model file of XGBoost, LightGBM or CatBoost.

    Args:
        model: XGBoost's JSON or UBJSON, LightGBM's text, CatBoost's cbm or JSON.
        table: The rows that it was trained on: a CSV or Parquet file, or a DataFrame.
        target: The column that it predicts.
        name: The model's name.
        drop: Columns that the model is not given.
        categorical: Columns of categories beside those that the model itself knows as such.
        gates: See ``package``, as for the settings that follow.
        require_compiled: See ``package``.
        store: See ``package``.
        version: See ``package``.
        aliases: See ``package``.
        progress: See ``package``.

    Raises:
        OrrisError: The file or the table cannot be read, or see ``package``.
    """
    _require_training()
    from orris.tables.files import from_frame, read_table  # noqa: PLC0415

    fitted = boosters.read_file(model)
    frame = read_table(table) if isinstance(table, str | Path) else from_frame(table)
    X, y = boosters.rows_for(fitted, frame, target, drop)
    if hasattr(fitted, "predict_proba"):
        boosters.require_labels(fitted, np.asarray(y))
    return package(
        fitted,
        X,
        y,
        name=name,
        store=store,
        version=version,
        target=target,
        categorical=categorical,
        gates=gates,
        require_compiled=require_compiled,
        aliases=aliases,
        progress=progress,
    )


def load(source: Bundle | str | Path = "", *, store: str | Path = "", threads: int = 1) -> Model:
    """Load a model through the server's engine: audited, and its golden rows reproduced.

    Args:
        source: A ``Bundle``, a bundle's folder, or a reference in the store: ``NAME``, ``NAME@VERSION``,
            ``NAME:ALIAS``.
        store: The store that references are looked up in; by default ``ORRIS_STORE``, or ``./artifacts``.
        threads: Threads for one call of the model.

    Raises:
        StoreError, BundleError, ServingError: Not found, changed, or not reproduced.
    """
    from orris.serving.engine import Engine  # noqa: PLC0415

    return Model(
        Engine.load(
            source.folder if isinstance(source, Bundle) else locate(source, default_store(store)), threads=threads
        )
    )


def default_store(store: str | Path) -> str | Path:
    """The store that is meant where none is named: ``ORRIS_STORE``, or ``./artifacts``."""
    return store or os.environ.get("ORRIS_STORE") or DEFAULT_STORE


def _are_plain(rows: Any) -> bool:
    """Whether rows are Python's own: one mapping of single values, or a list of mappings or lists."""
    if isinstance(rows, Mapping):
        return not any(hasattr(value, "__len__") and not isinstance(value, str | bytes) for value in rows.values())
    return isinstance(rows, list | tuple)


def _plain_row(row: Any) -> Any:
    """A row as JSON would have it: numpy's scalars as Python's, and NaN, NaT and NA as None."""
    if isinstance(row, Mapping):
        return {str(name): _plain_value(value) for name, value in row.items()}
    if isinstance(row, list | tuple):
        return [_plain_value(value) for value in row]
    return _plain_row(row.tolist()) if isinstance(row, np.ndarray) and row.ndim == 1 else row


def _plain_value(value: Any) -> Any:
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        return value.item()
    return float(value) if isinstance(value, decimal.Decimal) else value


def serve(
    *models: Bundle | str | Path,
    store: str | Path | None = None,
    protocols: Sequence[Protocol] = (),
    **settings: Any,
) -> int:
    """``orris serve`` from Python: serve models until SIGTERM or Ctrl-C.

    Args:
        *models: Bundles, their folders or URLs, or references in the store; the first is the default. None: what
            ``ORRIS_MODEL`` says, or the store's only model.
        store: The store that references are looked up in; by default ``ORRIS_STORE``, or ``./artifacts``.
        protocols: Protocols that are spoken beside Orris' own (``orris.serving.protocol.Protocol``).
        **settings: Any other setting by the name of its variable, without ``ORRIS_`` and in lower case:
            ``port=9000``, ``workers="auto"``, ``api_keys_file=…``. They win over the environment.

    Returns:
        The exit code: 0 after a regular stop.

    Raises:
        SettingsError: An unknown or malformed setting.
        OrrisError: A model that is not found, not sound, or not reproduced.
    """
    from orris.server.launch import launch  # noqa: PLC0415
    from orris.server.platforms import translate  # noqa: PLC0415
    from orris.settings import read_settings  # noqa: PLC0415

    references = [str(model.folder if isinstance(model, Bundle) else model) for model in models]
    given = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    environ = translate(os.environ, model_named=bool(references))
    found = read_settings(environ, store=str(store) if store is not None else None, **given)
    return launch(references, found, protocols)


def _checked(name: str, version: str, store: str | Path | None, aliases: Sequence[str]) -> str:
    """The version as it will be published; names, version and store are checked before any work is done."""
    check_name(name)
    version = as_version(version) if version else ""
    if store is not None:
        Store(default_store(store)).check_publishable(name, version, aliases)
    return version


def _published(trained: Trained, store: str | Path | None, aliases: Sequence[str]) -> Bundle:
    bundle = Bundle(trained.folder, trained.manifest)
    return bundle if store is None else bundle.publish(store, aliases=aliases)


@contextmanager
def _building(*, keep: bool) -> Iterator[Path]:
    """A temporary folder to build a bundle in; it stays only if it is the result."""
    folder = Path(tempfile.mkdtemp(prefix="orris-"))
    try:
        yield folder
    except BaseException:
        keep = False
        raise
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _require_training() -> None:
    try:
        import sklearn  # noqa: F401, PLC0415
    except ImportError:
        raise MissingExtraError("train", "training and packaging") from None


__all__ = [
    "Bundle",
    "InputWarning",
    "Model",
    "Reference",
    "Store",
    "load",
    "package",
    "package_file",
    "read_manifest",
    "serve",
    "train",
]
