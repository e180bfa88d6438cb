"""How the cost of packaging and serving grows with trees, columns, levels and rows: one process for each line.

    python benchmarks/growth.py                     every line
    python benchmarks/growth.py --only columns      the lines of one kind
    python benchmarks/growth.py --small             the first two lines of each kind

Each process fits a pipeline on data drawn with a fixed seed, compiles it, and reports: seconds to build the model
file, seconds of the gate, the largest resident memory of the process, the size of the file, milliseconds to load it,
microseconds of one row through the compiled model, and what the gate found.

The last table is of requests: one row as JSON through the server's own reading, model and writing, in process. Times
there are the smallest of several repeats, in CPU time.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import orris
from orris.compile import compile_pipeline
from orris.protocols.named import NamedRows
from orris.runtime import OnnxRuntime
from orris.schema.frames import encode
from orris.server.loading import load_engine
from orris.settings import Settings
from orris.training.learning import Declared, learn_schema

SIZES = {
    "trees": (10, 100, 1_000),
    "columns": (20, 400, 2_000),
    "levels": (1_000, 20_000, 100_000),
    "rows": (1_000, 20_000, 200_000),
    "values": (20, 100, 500),
}
TITLES = {
    "trees": "forest of unlimited trees, 20,000 × 20",
    "columns": "imputer, scaler and logistic regression, 300 rows, 5 % missing",
    "levels": "one-hot and logistic regression",
    "rows": "scaler and logistic regression, 20 columns",
    "values": "one JSON row in process; imputer, scaler and logistic regression",
}
REQUEST_HEADS = ("size", "body kB", "read µs", "model µs", "write µs", "all, in times of the model's")
HEADS = (
    "size",
    "build s",
    "gate s",
    "memory GB",
    "file MB",
    "load ms",
    "one row µs",
    "rows compared",
    "way of serving",
)


def trees(size: int, draw: np.random.Generator) -> tuple[Any, Any, Any]:
    """A forest of trees that are grown to the end."""
    x = draw.normal(size=(20_000, 20))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + draw.normal(size=len(x)) > 0).astype(int)
    return RandomForestClassifier(size, random_state=0), x, y


def columns(size: int, draw: np.random.Generator) -> tuple[Any, Any, Any]:
    """Few rows of many columns with gaps."""
    x = draw.normal(size=(300, size)).round(2)
    y = (draw.random(300) < 0.5).astype(int)
    x[draw.random(x.shape) < 0.05] = np.nan
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=50)), x, y


def levels(size: int, draw: np.random.Generator) -> tuple[Any, Any, Any]:
    """One category of many levels, each of which is in the table once."""
    table = pd.DataFrame({"level": [f"level {i}" for i in range(size)], "x": draw.normal(size=size).round(2)})
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["level"]), (StandardScaler(), ["x"]))
    return make_pipeline(encoded, LogisticRegression(max_iter=20)), table, (draw.random(size) < 0.5).astype(int)


def rows(size: int, draw: np.random.Generator) -> tuple[Any, Any, Any]:
    """Many rows of few columns."""
    x = draw.normal(size=(size, 20)).round(2)
    return make_pipeline(StandardScaler(), LogisticRegression()), x, (x[:, 0] > 0).astype(int)


KINDS: dict[str, Callable[[int, np.random.Generator], tuple[Any, Any, Any]]] = {
    "trees": trees,
    "columns": columns,
    "levels": levels,
    "rows": rows,
}


def measure(kind: str, size: int) -> list[str]:
    """One line of the table, measured in this process."""
    warnings.simplefilter("ignore")
    pipeline, x, y = KINDS[kind](size, np.random.default_rng(0))
    pipeline.fit(x, y)
    declared = Declared(categorical=("level",)) if kind == "levels" else None
    schema = learn_schema(x, target="y", task="classification", labels=(0, 1), declared=declared)
    encoded = encode(schema, x)
    marks: list[tuple[float, str]] = []
    start = time.perf_counter()
    compiled = compile_pipeline(
        pipeline, schema, encoded, progress=lambda doing: marks.append((time.perf_counter(), doing))
    )
    whole = time.perf_counter() - start
    ends = [moment for moment, _ in marks[1:]] + [start + whole]
    build = sum(end - begun for (begun, doing), end in zip(marks, ends, strict=True) if doing.startswith("building"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    start = time.perf_counter()
    runtime = OnnxRuntime(compiled.content)
    load = time.perf_counter() - start
    row = np.ascontiguousarray(encoded[:1])
    times = []
    for _ in range(300):
        start = time.perf_counter()
        runtime.run(row)
        times.append(time.perf_counter() - start)
    verdict = compiled.verdict
    numbers = (f"{build:.1f}", f"{whole - build:.1f}", f"{memory:.2f}", f"{len(compiled.content) / 1e6:.2f}")
    served = (f"{load * 1e3:.1f}", f"{np.median(times) * 1e6:.0f}", f"{verdict.n_rows:,}", verdict.strategy)
    return [f"{size:,}", *numbers, *served]


def measure_request(size: int) -> list[str]:
    """One line of the table of requests: the codec of ``/api/v1/predict`` over one row of ``size`` values."""
    warnings.simplefilter("ignore")
    pipeline, x, y = columns(size, np.random.default_rng(0))
    frame = pd.DataFrame(x, columns=[f"x{i}" for i in range(size)])
    with tempfile.TemporaryDirectory() as store:
        orris.package(pipeline.fit(frame, y), frame, y, name="wide", store=store)
        engine = load_engine("wide", Settings(store=store))
    body = json.dumps({name: None if np.isnan(value) else value for name, value in frame.iloc[0].items()}).encode()
    rows, headers = NamedRows(), {b"content-type": b"application/json"}
    query = rows.read(engine, body, headers)
    answers = engine.runtime.run(query.rows)
    read, run, write = (
        _smallest(step)
        for step in (
            lambda: rows.read(engine, body, headers),
            lambda: engine.runtime.run(query.rows),
            lambda: rows.write(engine, query, answers, "0123456789abcdef", []),
        )
    )
    numbers = (
        f"{len(body) / 1e3:.1f}",
        f"{read:.0f}",
        f"{run:.0f}",
        f"{write:.0f}",
        f"{(read + run + write) / run:.1f}",
    )
    return [f"{size:,}", *numbers]


def _smallest(step: Callable[[], object]) -> float:
    """Microseconds of CPU time of one call: the smallest mean of 20 rounds of 100."""
    means = []
    for _ in range(20):
        start = time.process_time_ns()
        for _ in range(100):
            step()
        means.append((time.process_time_ns() - start) / 100e3)
    return min(means)


def main() -> None:
    """Print one table for each kind, in Markdown."""
    parser = argparse.ArgumentParser(description="How cost grows with trees, columns, levels and rows.")
    parser.add_argument("--only", choices=tuple(SIZES), help="the lines of one kind")
    parser.add_argument("--small", action="store_true", help="the first two lines of each kind")
    parser.add_argument("--line", nargs=2, metavar=("KIND", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.line:
        kind, size = arguments.line[0], int(arguments.line[1])
        print(json.dumps(measure_request(size) if kind == "values" else measure(kind, size)))
        return
    for kind, sizes in SIZES.items():
        if arguments.only in {None, kind}:
            heads = REQUEST_HEADS if kind == "values" else HEADS
            print(
                f"\n{TITLES[kind]}, by number of {kind}:\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True
            )
            for size in sizes[:2] if arguments.small else sizes:
                command = [sys.executable, str(Path(__file__)), "--line", kind, str(size)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                cells = json.loads(done.stdout) if done.returncode == 0 else [f"{size:,}", done.stderr.strip()[-200:]]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
