"""Orris from Python: ``orris.train``, ``orris.package``, ``orris.load``, ``orris.serve``.

With ``cli`` the only place where the stages are joined.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orris import boosters
from orris.bundle import Manifest, read_manifest
from orris.errors import MissingExtraError, ServingError, SettingsError
from orris.schema import Bounds, Schema
from orris.schema.arrays import FloatArray
from orris.schema.checks import check
from orris.schema.frames import encode
from orris.schema.strict import encode as encode_rows
from orris.settings import DEFAULT_STORE
from orris.store import Reference, Store, as_version, check_name, locate
from orris.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

    from orris.serving.engine import Engine
    from orris.serving.protocol import Protocol
    from orris.training.params import TrainParams
    from orris.training.run import Progress, Trained


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
        """What the evaluation measured."""
        return self.manifest.metrics

    @property
    def verdict(self) -> Verdict:
        """What the parity gate found."""
        return self.manifest.verdict

    def publish(self, store: str | Path = DEFAULT_STORE, *, aliases: Sequence[str] = ("latest",)) -> Bundle:
        """Publish to a store; returns the published bundle.

        Raises:
            VersionExistsError: That version is there already.
        """
        target = Store(store)
        reference = target.publish(self.folder, aliases=aliases)
        return Bundle(target.fetch(reference), self.manifest)


class Model:
    """A loaded model: the engine of the server, for Python.

    Rows may be a DataFrame (columns by name), an array ``(n_rows, n_columns)``, or a list of rows, each a ``dict`` or a
    list in the order of the schema.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of the model."""
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
        answers = self._engine.run(self._encode(rows))
        if answers.values is not None:
            return answers.values
        return np.asarray(np.array(self.schema.labels)[answers.labels])

    def predict_proba(self, rows: Any) -> FloatArray:
        """Probabilities, float64 ``(n_rows, n_classes)``, columns in the order of ``schema.labels``.

        Raises:
            RowError: Rows that a server would refuse; names row and column.
            ServingError: The model has no probabilities.
        """
        answers = self._engine.run(self._encode(rows))
        if answers.probabilities is None:
            raise ServingError(f"{self.manifest.name} has no probabilities: the fitted model has no predict_proba")
        return answers.probabilities

    def _encode(self, rows: Any) -> FloatArray:
        if isinstance(rows, Mapping):
            rows = [rows]
        if isinstance(rows, list):
            return encode_rows(self.schema, rows, max(1, len(rows)))
        encoded = encode(self.schema, rows)
        check(self.schema, encoded)
        return encoded

    def __repr__(self) -> str:
        return f"<orris.Model {self.manifest.name}@{self.manifest.version}>"


def train(
    table: str | Path | pd.DataFrame | None = None,
    *,
    target: str | None = None,
    store: str | Path | None = DEFAULT_STORE,
    version: str = "",
    aliases: Sequence[str] = ("latest",),
    **params: Any,
) -> Bundle:
    """``orris train`` from Python: train, evaluate, prove, package and publish.

    Args:
        table: A CSV or Parquet file, or a DataFrame; by default the bundled iris table.
        target: The column to predict.
        store: Where to publish; ``None`` builds the bundle in a temporary folder and publishes nothing.
        version: The version; by default ``1.0.<UTC timestamp>``.
        aliases: Aliases to move to the new version.
        **params: Any other key of ``params.yaml``: ``name``, ``model``, ``tune``, ``gates``, …

    Raises:
        OrrisError: See ``orris.training.run.train``.
    """
    _require_training()
    from orris.training.params import TrainParams, override  # noqa: PLC0415

    if table is None:
        settings, frame = override(TrainParams(), target=target, **params), None
    elif target is None:
        raise SettingsError("orris.train: say which column of the table to predict: target=…")
    elif isinstance(table, str | Path):
        settings, frame = override(TrainParams(), table=str(table), target=target, **params), None
    else:
        settings, frame = override(TrainParams(), target=target, **params), table
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
    from orris.training import run  # noqa: PLC0415

    version = _checked(params.name, version, store, aliases)
    quiet: Progress = lambda _: None  # noqa: E731 (shorter than a function)
    with _building(keep=store is None) as folder:
        trained = run.train(
            params, folder, frame=frame, version=version, progress=progress or quiet, notify=notify or quiet
        )
        if done is not None:
            done(trained)
        return _published(trained, store, aliases)


def package(
    pipeline: Any,
    X: Any,
    y: Any,
    *,
    name: str,
    store: str | Path | None = DEFAULT_STORE,
    version: str = "",
    target: str = "",
    categorical: Sequence[str] = (),
    bounds: Mapping[str, Bounds] | None = None,
    gates: Sequence[str] = (),
    require_compiled: bool = False,
    aliases: Sequence[str] = ("latest",),
) -> Bundle:
    """Package a pipeline that you have fitted: learn its schema, compile it, prove it, publish it.

    Args:
        pipeline: A fitted scikit-learn classifier, regressor or Pipeline; an estimator or a native object of XGBoost,
            LightGBM or CatBoost.
        X: The rows that it was fitted on: a DataFrame or an array ``(n_rows, n_columns)``.
        y: Their targets, ``(n_rows,)``.
        name: The model's name.
        store: Where to publish; ``None`` builds the bundle in a temporary folder and publishes nothing.
        version: The version; by default ``1.0.<UTC timestamp>``.
        target: Name of the target; by default that of ``y``.
        categorical: Integer columns that are categories.
        bounds: Hard bounds by column; a row outside them is refused.
        gates: Conditions such as ``accuracy>=0.9``; if one fails, nothing is published.
        require_compiled: Raise rather than fall back to scikit-learn at serving time.
        aliases: Aliases to move to the new version.

    Raises:
        OrrisError: See ``orris.training.run.package``.
    """
    _require_training()
    from orris.training import run  # noqa: PLC0415
    from orris.training.params import TrainParams  # noqa: PLC0415

    pipeline = boosters.adopt(pipeline, [str(column) for column in X.columns] if hasattr(X, "columns") else None)
    params = TrainParams(
        name=name,
        categorical=tuple(dict.fromkeys([*categorical, *boosters.integer_categories(pipeline, X)])),
        bounds=dict(bounds or {}),
        gates=tuple(gates),
        require_compiled=require_compiled,
    )
    version = _checked(name, version, store, aliases)
    with _building(keep=store is None) as folder:
        trained = run.package(pipeline, X, y, folder, name=name, version=version, target=target, params=params)
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
    store: str | Path | None = DEFAULT_STORE,
    version: str = "",
    aliases: Sequence[str] = ("latest",),
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
    )


def load(source: Bundle | str | Path = "", *, store: str | Path = DEFAULT_STORE, threads: int = 1) -> Model:
    """Load a model through the server's engine: audited, and its golden rows reproduced.

    Args:
        source: A ``Bundle``, a bundle's folder, or a reference in the store: ``NAME``, ``NAME@VERSION``,
            ``NAME:ALIAS``.
        store: The store that references are looked up in.
        threads: Threads for one call of the model.

    Raises:
        StoreError, BundleError, ServingError: Not found, changed, or not reproduced.
    """
    from orris.serving.engine import Engine  # noqa: PLC0415

    return Model(Engine.load(source.folder if isinstance(source, Bundle) else locate(source, store), threads=threads))


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
        Store(store).check_publishable(name, version, aliases)
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
