"""The table of a training run, read and checked: what can be found before anything is fitted is found here.

``run`` calls it first. After it come ``learning`` (the schema) and the pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orris.errors import SchemaError, TrainingError
from orris.tables import files
from orris.tables.rules import Notice, ReadOptions, Rules, resolve_names, suggestion
from orris.training import gates, learning
from orris.training.params import TrainParams
from orris.training.suspicions import suspicions

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table that is ready to be learned from.

    Attributes:
        X: The columns, without the target and the dropped ones; a plain table ``(n_rows, n_columns)``.
        y: The target, ``(n_rows,)``.
        task: What the model predicts.
        categorical: The columns that were declared categories, each by its name.
        dropped: The columns that were left out.
        rules: How the text of the file became values.
        notices: What is to be said about the table.
    """

    X: pd.DataFrame
    y: pd.Series[Any]
    task: learning.Task
    categorical: tuple[str, ...]
    dropped: tuple[str, ...]
    rules: Rules
    notices: tuple[Notice, ...]


def prepare(
    params: TrainParams, frame: pd.DataFrame | None = None, progress: Callable[[str], None] = lambda _: None
) -> Prepared:
    """Read the table and check everything that can be checked before training.

    Args:
        params: What to train.
        frame: The table, if it is in memory; otherwise ``params.table`` is read.
        progress: Told what is being done.

    Raises:
        SettingsError: A gate that is none, or names a metric that this task does not have.
        TableError, SchemaError, TrainingError: The table, its columns, or its target cannot be used; names file, row
            or column, and all columns at once.
    """
    conditions = [gates.parse_gate(gate) for gate in params.gates]
    progress("reading the table")
    table = _read(params) if frame is None else files.Table(files.from_frame(frame))
    names = list(table.frame.columns)
    if params.target not in names:
        raise TrainingError(
            f"the table has no column '{params.target}': say which column to predict with  --target COLUMN;"
            f" {suggestion(params.target, names)}"
        )
    dropped = resolve_names(params.drop, names, "--drop")
    if params.target in dropped:
        raise TrainingError(f"'{params.target}' is the target and is also dropped (--drop); it cannot be both")
    X, y = table.frame.drop(columns=[params.target, *dropped]), table.frame[params.target]
    if not X.shape[1]:
        raise TrainingError("no column is left to learn from: all of them are the target, or dropped")
    task = learning.choose_task(y, params.task)
    gates.check_metrics(conditions, task, n_classes=int(y.nunique()), folds=params.folds)
    progress("checking the table")
    notices = (*table.notices, *suspicions(X, y, task))
    categorical = resolve_names(params.categorical, names, "--categorical")
    _check_columns(X, params.target, task, categorical)
    return Prepared(X, y, task, categorical, dropped, table.rules, notices)


def _check_columns(X: pd.DataFrame, target: str, task: learning.Task, declared: Sequence[str]) -> None:
    """Name all columns at once that cannot be learned from: text, dates, identifiers, mixed types, nothing at all."""
    problems = {}
    for name in map(str, X.columns):
        if name in declared or (X[name].dtype.kind in "iufb" and not X[name].isna().all()):
            continue
        try:
            learning.learn_schema(X[[name]], target=target, task=task)
        except SchemaError as error:
            problems[name] = str(error)
    if problems:
        together = f"\nleave all of them out with  --drop {','.join(problems)}" if len(problems) > 1 else ""
        raise SchemaError("\n".join(problems.values()) + together)


def _read(params: TrainParams) -> files.Table:
    options = ReadOptions(
        params.categorical, params.drop, params.decimal, params.thousands, params.strict, params.skip_bad_lines
    )
    return files.read(params.table, options)
