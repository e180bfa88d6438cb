"""Models of XGBoost, LightGBM and CatBoost that are no scikit-learn estimators: native objects, and model files.

``adopt`` makes of each the estimator that the stages after it take, with ``predict``, and, for classes, ``classes_``
and ``predict_proba``. A library is imported only for its own model. Model files are data: no pickle is read.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orris.errors import MissingExtraError, TrainingError
from orris.schema.arrays import FloatArray

_CATBOOST_CLASSES = {"Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll"}
_CATBOOST_RANKS = (
    "YetiRank",
    "PairLogit",
    "QueryRMSE",
    "QuerySoftMax",
    "QueryCrossEntropy",
    "StochasticRank",
    "LambdaMart",
)

TESTED = {"catboost": "1.2.10", "lightgbm": "4.7.0", "xgboost": "3.2.0"}
"""The newest version of each library that the tests of Orris run with."""

PICKLE = b"\x80"
"""How a pickle of protocol 2 and later begins."""


class LGBMRegressor:
    """The equivalent of ``lightgbm.LGBMRegressor`` over a ``lightgbm.Booster`` that was trained without it.

    Attributes:
        booster_: The booster.
        objective: Its objective's name.
    """

    def __init__(self, booster: Any, objective: str) -> None:
        self.booster_ = booster
        self.objective = objective

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The value of each row, float64 ``(n_rows,)``."""
        return np.asarray(self.booster_.predict(X))


class LGBMClassifier(LGBMRegressor):
    """The same for classes, which a native booster numbers from 0."""

    def __init__(self, booster: Any, objective: str) -> None:
        super().__init__(booster, objective)
        self.classes_ = np.arange(max(2, booster.num_model_per_iteration()))

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The number of the largest class, int64 ``(n_rows,)``."""
        return np.asarray(self.predict_proba(X).argmax(axis=1))

    def predict_proba(self, X: Any) -> FloatArray:
        """Probabilities, float64 ``(n_rows, n_classes)``."""
        found = np.asarray(self.booster_.predict(X))
        return np.column_stack([1.0 - found, found]) if found.ndim == 1 else found


def adopt(model: Any, columns: list[str] | None = None) -> Any:
    """The estimator of a native booster; any other model as it is.

    Args:
        model: An ``xgboost.Booster``, ``lightgbm.Booster`` or ``catboost.CatBoost``, or anything else. All rounds of an
            ``xgboost.Booster`` count, and those up to the best of the others, as in their own ``predict``.
        columns: Names of the columns of a DataFrame that it will be given.
    """
    native = f"{type(model).__module__.split('.')[0]}.{type(model).__name__}"
    if native == "xgboost.Booster":
        return _xgboost(bytearray(model.save_raw("ubj")), columns, keep_best=False)
    if native == "lightgbm.Booster":
        return _lightgbm(model)
    return _catboost(model) if native == "catboost.CatBoost" else model


def read_file(path: str | Path) -> Any:
    """The estimator in a library's own model file; only rounds up to the best iteration count.

    Args:
        path: XGBoost's JSON or UBJSON, LightGBM's text, CatBoost's cbm or JSON.

    Raises:
        TrainingError: It is none of them.
        MissingExtraError: The library is not installed.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read: {error.strerror}") from None
    library, format_name = _recognised(content)
    if not library:
        pickled = "; pickles are not read, because they can execute code" if content.startswith(PICKLE) else ""
        raise TrainingError(
            f"{path}: is no model file of XGBoost (JSON, UBJSON), LightGBM (text) or CatBoost (cbm, JSON){pickled}"
        )
    try:
        if library == "xgboost":
            return _xgboost(bytearray(content), None, keep_best=True)
        if library == "lightgbm":
            import lightgbm  # noqa: PLC0415

            return _lightgbm(lightgbm.Booster(model_str=content.decode()))
        import catboost  # noqa: PLC0415

        return _catboost(catboost.CatBoost().load_model(str(path), format=format_name))
    except ImportError:
        raise MissingExtraError(library, f"reading {path}") from None
    except Exception as error:  # each library has errors of its own, and CatBoost's derive from Exception alone
        reason = str(error).strip().splitlines() or [repr(error)]
        raise TrainingError(f"{path}: {library} does not read it: {reason[0]}") from error


def _recognised(content: bytes) -> tuple[str, str]:
    """Library and format of a model file, by what it begins with or holds; empty if neither."""
    if content.startswith(b"CBM1"):
        return "catboost", "cbm"
    if content.startswith(b"tree\n") or content.startswith(b"tree\r\n"):
        return "lightgbm", "text"
    if content.lstrip()[:1] != b"{":
        return "", ""
    with contextlib.suppress(ValueError):
        document = json.loads(content)
        if "learner" in document:
            return "xgboost", "json"
        return ("catboost", "json") if "model_info" in document else ("", "")
    return ("xgboost", "ubj") if b"learner" in content[:200] else ("", "")


def _xgboost(content: bytearray, columns: list[str] | None, *, keep_best: bool) -> Any:
    import xgboost  # noqa: PLC0415

    booster = xgboost.Booster()
    booster.load_model(content)
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    booster.set_attr(scikit_learn=None)
    if not keep_best:
        booster.set_attr(best_iteration=None, best_score=None)
    if booster.feature_names is None and columns is not None:
        booster.feature_names = columns
    classes = objective == "binary:logistic" or objective.startswith("multi:")
    kind = "XGBClassifier" if classes else "XGBRanker" if objective.startswith("rank:") else "XGBRegressor"
    estimator = getattr(xgboost, kind)(n_jobs=1)
    estimator.load_model(booster.save_raw("ubj"))
    return estimator


def _lightgbm(booster: Any) -> LGBMRegressor:
    objective = str(booster.dump_model(num_iteration=1).get("objective") or "none").split()[0]
    return (LGBMClassifier if objective.startswith(("binary", "multiclass")) else LGBMRegressor)(booster, objective)


def _catboost(model: Any) -> Any:
    import catboost  # noqa: PLC0415

    loss = str(model.get_all_params()["loss_function"]).partition(":")[0]
    if loss in _CATBOOST_CLASSES:
        return catboost.to_classifier(model)
    return (catboost.to_ranker if loss.startswith(_CATBOOST_RANKS) else catboost.to_regressor)(model)


def untested_versions(pipeline: Any) -> str:
    """The boosting libraries in a fitted pipeline of a newer major version than the tested one, in words, or empty.

    A major version may write its models in another way, and then no converter that passes the parity gate is left.
    """
    newer = []
    for name in sorted(_libraries(pipeline)):
        version = str(sys.modules[name].__version__)
        if int(version.split(".", maxsplit=1)[0]) > int(TESTED[name].split(".")[0]):
            newer.append(f"{name} {version} is newer than the tested {TESTED[name]}")
    return ", ".join(newer)


def _libraries(part: Any, depth: int = 12) -> set[str]:
    """The boosting libraries whose models are in an estimator, or in a list, tuple or dict of them, not far down."""
    library = type(part).__module__.split(".")[0]
    if library in TESTED:
        return {library}
    if library in {"sklearn", "imblearn", "orris"}:
        part = getattr(part, "__dict__", {})
    inside = part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
    return set().union(*(_libraries(each, depth - 1) for each in inside)) if depth else set()


def require_labels(model: Any, targets: npt.NDArray[Any]) -> None:
    """Raise ``TrainingError`` if targets ``(n_rows,)`` hold a label that the classifier ``model`` does not have."""
    classes = list(np.asarray(model.classes_).tolist())
    strange = [
        label
        for label in np.unique(targets.astype(object) if targets.dtype.kind == "O" else targets).tolist()
        if label not in classes
    ]
    if strange:
        raise TrainingError(
            f"the target holds {strange[0]!r}, and the model's classes are {', '.join(map(repr, classes[:5]))}: write"
            " the target as the model was trained on it"
        )


def feature_names(model: Any) -> list[str]:
    """Names of the columns that the model was trained on; empty if it holds none, or is of another library."""
    library = type(model).__module__.split(".")[0]
    if library == "xgboost":
        return list(model.get_booster().feature_names or ())
    names = model.booster_.feature_name() if isinstance(model, LGBMRegressor) else []
    names = list(model.feature_names_) if library == "catboost" else names
    numbered = [f"Column_{i}" for i in range(len(names))], [str(i) for i in range(len(names))]
    return [] if names in numbered else names


def integer_categories(model: Any, X: Any) -> list[str]:
    """Columns of whole numbers in a DataFrame that are categories to CatBoost: the schema must hold their levels."""
    last = model.steps[-1][1] if hasattr(model, "steps") and len(model.steps) == 1 else model
    if type(last).__module__.split(".")[0] != "catboost" or not hasattr(X, "columns"):
        return []
    names = [str(X.columns[position]) for position in last._get_cat_feature_indices() if position < len(X.columns)]
    return [name for name in names if X[name].dtype.kind in "iu"]


def rows_for(model: Any, frame: Any, target: str, drop: Sequence[str] = ()) -> tuple[Any, Any]:
    """The DataFrame that the model of a file is given, and the target.

    A table of a file holds text where the model was trained on categories.

    Args:
        model: What ``read_file`` gave.
        frame: The table, with the target.
        target: The column that the model predicts.
        drop: Columns that it is not given.

    Raises:
        TrainingError: The table lacks the target, or a column that the model names.
    """
    rest = [name for name in frame.columns if name not in {target, *drop}]
    names = feature_names(model) or rest
    for name in (target, *drop, *names):
        if name not in frame.columns:
            raise TrainingError(f"the table has no column '{name}'; it has {', '.join(map(str, frame.columns))}")
    X = frame[names].copy()
    for name, levels in _category_levels(model, X).items():
        import pandas as pd  # noqa: PLC0415

        held = X[name]
        if levels and isinstance(levels[0], str) and held.dtype.kind in "iuf":  # a file's text that looks like numbers
            held = held.map(lambda value: str(int(value)) if float(value).is_integer() else str(value), "ignore")
        X[name] = pd.Categorical(held.where(held.isin(levels)) if levels else held, categories=levels or None)
    return X, frame[target]


def _category_levels(model: Any, X: Any) -> dict[str, list[Any]]:
    """The columns of ``X`` that the model knows as a ``category`` dtype, with its levels, if it holds them."""
    library = type(model).__module__.split(".")[0]
    texts = [name for name in X.columns if X[name].dtype.kind not in "fiub"]
    if library == "xgboost":
        return _xgboost_categories(model.get_booster(), X)
    if not isinstance(model, LGBMRegressor):
        return {}
    found: dict[str, list[Any]] = {}
    left = [list(levels) for levels in model.booster_.pandas_categorical or []]
    for name in X.columns:
        held = set(X[name].dropna().unique().tolist())
        if left and (name in texts or held <= set(left[0])):
            found[name] = left.pop(0)
    return found


def _xgboost_categories(booster: Any, X: Any) -> dict[str, list[Any]]:
    """The category columns of an ``xgboost.Booster`` with their levels; XGBoost before 3.1 kept none."""
    types = booster.feature_types or []
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    encodings = (learner.get("gbtree", learner)["model"].get("cats") or {}).get("enc") or []
    return {
        name: (xgboost_levels(encodings[i], sorted(map(str, X[name].dropna().unique()))) if encodings else None) or []
        for i, (name, kind) in enumerate(zip(X.columns, types, strict=False))
        if kind == "c"
    }


def xgboost_levels(encoding: dict[str, Any], held: Sequence[Any] = ()) -> list[Any] | None:
    """The levels of a column in XGBoost's JSON, by code: text as the bytes between offsets, or numbers.

    XGBoost 3.1 and 3.2 count the offsets in characters and cut the bytes off at the last of them, so that levels beyond
    ASCII are shifted and the last are lost. Their text is completed from the levels that the rows hold.

    Args:
        encoding: The column's entry.
        held: Levels that rows hold, in the order of the categories.

    Returns:
        ``None`` where it holds no level.
    """
    stored = encoding["values"]
    if "offsets" not in encoding:
        return list(stored)
    spans = list(itertools.pairwise(encoding["offsets"]))
    text = np.array(stored, np.int64).astype(np.uint8).tobytes()
    levels: list[Any] = [text[start:end].decode(errors="replace") for start, end in spans]
    if text.isascii() or set(held) <= set(levels):
        return levels or None
    characters = text.decode(errors="ignore")
    left = [level for level in held if level not in {characters[start:end] for start, end in spans}]
    levels = []
    for start, end in spans:
        known = characters[start:end]
        whole = len(known) == end - start
        if not whole and left and len(left[0]) == end - start and left[0].startswith(known):
            known = left.pop(0)
        levels.append(known)
    return levels
