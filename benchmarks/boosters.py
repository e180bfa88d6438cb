"""XGBoost, LightGBM and CatBoost beside their compiled models: time of one row and of a batch, and largest difference.

Each model is answered by Orris, by its own library, and by other tools that serve boosters: treelite (GTIL),
onnxmltools or the library's own ONNX export, and timber-compiler. All answer the same rows in the same process, one
after the other: rows with values exactly on the model's thresholds and one float32 or float64 to both sides, missing
values, training rows and random ones. Times are CPU time of the process, which other processes disturb least. In an
environment of its own::

    uv venv .bench/boosters
    uv pip sync --python .bench/boosters/bin/python requirements/boosters.txt
    uv pip install --python .bench/boosters/bin/python --no-deps --no-build-isolation -e .
    .bench/boosters/bin/python benchmarks/boosters.py [ROWS]

prints the table of docs/boosters.md, about ten minutes. ``requirements/lock.py boosters`` renews the lock.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from sklearn.datasets import make_classification, make_regression

from orris.compile.build import build
from orris.compile.parity.rows import on_thresholds, origins
from orris.runtime import OnnxRuntime
from orris.training.learning import learn_schema

N_ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
N_COLUMNS = 20
TASKS = ("binary", "multiclass", "regression")
COMPARED = ("xgboost-cpu", "lightgbm", "catboost", "onnxruntime", "treelite", "onnxmltools", "timber-compiler")
Answer = Callable[[np.ndarray], np.ndarray]


def table(task: str) -> tuple[np.ndarray, np.ndarray]:
    """6,000 rows of 20 columns with two decimals, 2 % of the values missing."""
    rng = np.random.default_rng(0)
    if task == "regression":
        X, y = make_regression(6_000, N_COLUMNS, n_informative=12, noise=3, random_state=0)
    else:
        n_classes = 2 if task == "binary" else 3
        X, y = make_classification(6_000, N_COLUMNS, n_informative=12, n_classes=n_classes, random_state=0)
    X = np.round(X, 2)
    X[rng.random(X.shape) < 0.02] = np.nan
    return X, y


def fitted(library: str, task: str, X: np.ndarray, y: np.ndarray) -> Any:
    """300 trees of depth 6 (100 rounds for several classes), one thread."""
    n_rounds = 100 if task == "multiclass" else 300
    kind = "Regressor" if task == "regression" else "Classifier"
    if library == "XGBoost":
        import xgboost

        return getattr(xgboost, f"XGB{kind}")(n_estimators=n_rounds, max_depth=6, n_jobs=1).fit(X, y)
    if library == "LightGBM":
        import lightgbm

        settings = {"n_estimators": n_rounds, "num_leaves": 63, "max_depth": 6, "n_jobs": 1, "verbose": -1}
        return getattr(lightgbm, f"LGBM{kind}")(**settings).fit(X, y)
    import catboost

    settings = {"iterations": n_rounds, "depth": 6, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    return getattr(catboost, f"CatBoost{kind}")(**settings).fit(X, y)


def adversarial(model: Any, X: np.ndarray, task: str) -> tuple[np.ndarray, OnnxRuntime]:
    """Rows on thresholds and others, float64 ``(N_ROWS, 20)``, and the compiled model."""
    labels = () if task == "regression" else np.asarray(model.classes_).tolist()
    schema = learn_schema(X, target="y", task="classification" if labels else "regression", labels=labels)
    built, graph = build(model, schema)
    rng = np.random.default_rng(1)
    placed = on_thresholds(schema, X, graph.thresholds, 0)
    others = np.concatenate(list(origins(schema, X, 0).values()))
    rows = np.concatenate([rng.permutation(placed)[: N_ROWS * 3 // 4], rng.permutation(others)[: N_ROWS // 4]])
    return rows, OnnxRuntime(built.SerializeToString())


def ours(runtime: OnnxRuntime, task: str) -> Answer:
    """The compiled model's probabilities or values."""
    return lambda rows: runtime.run(rows).values if task == "regression" else runtime.run(rows).probabilities


def treelite_answer(library: str, model: Any) -> Answer:
    """Treelite's reference interpreter."""
    import treelite

    if library == "XGBoost":
        read = treelite.frontend.from_xgboost(model.get_booster())
        return lambda rows: treelite.gtil.predict(read, rows.astype(np.float32), nthread=1)
    read = treelite.frontend.from_lightgbm(model.booster_)
    return lambda rows: treelite.gtil.predict(read, rows, nthread=1)


def exported_answer(library: str, model: Any, folder: Path) -> Answer:
    """onnxmltools, or CatBoost's own ONNX export, in ONNX Runtime."""
    if library == "CatBoost":
        model.save_model(str(folder / "own.onnx"), format="onnx")
        content = (folder / "own.onnx").read_bytes()
    else:
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        convert = onnxmltools.convert_xgboost if library == "XGBoost" else onnxmltools.convert_lightgbm
        settings = {"initial_types": [("X", FloatTensorType([None, N_COLUMNS]))], "target_opset": 15}
        content = convert(model, **settings).SerializeToString()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(rows: np.ndarray) -> np.ndarray:
        found = session.run(None, {name: rows.astype(np.float32)})[-1]
        return np.array([list(one.values()) for one in found]) if isinstance(found, list) else found

    return answer


def timber_answer(library: str, model: Any, folder: Path) -> Answer:
    """timber-compiler, which compiles XGBoost's JSON and LightGBM's text to C; its reader of CatBoost is left out."""
    from timber.runtime.predictor import TimberPredictor

    file = folder / ("model.json" if library == "XGBoost" else "model.txt")
    (model.get_booster() if library == "XGBoost" else model.booster_).save_model(str(file))
    predictor = TimberPredictor.from_model(str(file))
    return lambda rows: predictor.predict(rows.astype(np.float32))


def microseconds(run: Callable[[], object], seconds: float = 0.15) -> float:
    """CPU time of a call: the fifth part of the calls that were fastest ends here."""
    run()
    taken, end = [], time.process_time() + seconds
    while time.process_time() < end or len(taken) < 3:
        start = time.process_time_ns()
        run()
        taken.append(time.process_time_ns() - start)
    return float(np.percentile(taken, 20)) / 1e3


def shaped(found: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Answers in the shape of the library's: a second class alone gets its first."""
    found = np.asarray(found, np.float64).reshape(len(like), -1)
    if like.ndim == 2 and like.shape[1] == 2 and found.shape[1] == 1:
        found = np.hstack([1 - found, found])
    return found.reshape(like.shape)


def line(name: str, answer: Answer, rows: np.ndarray, expected: np.ndarray) -> str:
    """A line of the table: one row, 1,000 rows, largest difference, rows that differ."""
    difference = np.abs(shaped(answer(rows), expected) - expected).reshape(len(rows), -1).max(axis=1)
    one, many = rows[:1].copy(), rows[:1000].copy()
    timed = microseconds(lambda: answer(one)), microseconds(lambda: answer(many))
    differ = int((difference > 0).sum())
    return f"| {name} | {timed[0]:,.0f} | {timed[1]:,.0f} | {difference.max():.2g} | {differ:,} |"


def main() -> None:
    """Print the versions and the table."""
    warnings.simplefilter("ignore")
    ort.set_default_logger_severity(3)
    print(", ".join(f"{name} {metadata.version(name)}" for name in COMPARED), end="\n\n")
    print("| model | answered by | one row, µs | 1,000 rows, µs | largest difference | rows that differ |")
    print("|---|---|---|---|---|---|")
    for library in ("XGBoost", "LightGBM", "CatBoost"):
        for task in TASKS:
            X, y = table(task)
            model = fitted(library, task, X, y)
            own: Answer = model.predict if task == "regression" else model.predict_proba
            rows, runtime = adversarial(model, X, task)
            expected = np.asarray(own(rows), np.float64)
            with tempfile.TemporaryDirectory() as name:
                others = {
                    "Orris": lambda _, runtime=runtime, task=task: ours(runtime, task),
                    f"{library} itself": lambda _, own=own: own,
                    "treelite": lambda _, model=model, library=library: treelite_answer(library, model),
                    "CatBoost's export" if library == "CatBoost" else "onnxmltools": (
                        lambda folder, model=model, library=library: exported_answer(library, model, folder)
                    ),
                    "timber-compiler": lambda folder, model=model, library=library: timber_answer(
                        library, model, folder
                    ),
                }
                for tool, prepare in others.items():
                    if library == "CatBoost" and tool in {"treelite", "timber-compiler"}:
                        continue
                    try:
                        print(f"| {library}, {task} {line(tool, prepare(Path(name)), rows, expected)}", flush=True)
                    except Exception as error:  # noqa: BLE001 (another tool's failure is a result)
                        print(f"| {library}, {task} | {tool} | | | {type(error).__name__} | |", flush=True)


if __name__ == "__main__":
    main()
