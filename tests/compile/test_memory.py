"""The memory that packaging takes, measured in a process of its own for each table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GIGABYTE = 2**30

_COMPILE = """
import warnings
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from orris.compile import compile_pipeline
from orris.schema.frames import encode
from orris.training.learning import Declared, learn_schema

warnings.simplefilter("ignore")
draw = np.random.default_rng(0)
{table}
pipeline.fit(table, target)
schema = learn_schema(table, target="y", task="classification", labels=(0, 1), declared=Declared({categorical}))
verdict = compile_pipeline(pipeline, schema, encode(schema, table)).verdict
assert verdict.strategy == "exact", verdict
status = open("/proc/self/status").read()
print(1024 * int(status.partition("VmHWM:")[2].split()[0]))
"""

_COLUMNS = """
table = draw.normal(size=(300, 400)).round(2)
table[draw.random(table.shape) < 0.05] = np.nan
target = (draw.random(300) < 0.5).astype(int)
pipeline = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=50))
"""

_LEVELS = """
table = pd.DataFrame({"level": [f"level {i}" for i in range(20_000)], "x": draw.normal(size=20_000).round(2)})
target = (draw.random(20_000) < 0.5).astype(int)
encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["level"]), (StandardScaler(), ["x"]))
pipeline = make_pipeline(encoded, LogisticRegression(max_iter=20))
"""


@pytest.mark.parametrize(
    ("table", "categorical"),
    [(_COLUMNS, ""), (_LEVELS, "categorical=('level',)")],
    ids=["300 rows of 400 columns with gaps", "20,000 one-hot levels"],
)
def test_packaging_stays_below_a_gigabyte(table: str, categorical: str) -> None:
    """The largest resident memory of the process, its libraries included; the model is compiled exactly."""
    script = _COMPILE.replace("{table}", table).replace("{categorical}", categorical)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path.cwd(), check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < GIGABYTE
