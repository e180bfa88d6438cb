"""What became of an exchange: what its line of the log, its span and the counts of warnings are made from."""

from __future__ import annotations

from typing import NamedTuple

from orris.runtime import Answers
from orris.schema.warnings import UNKNOWN_COLUMN
from orris.serving.catalog import Live
from orris.serving.exchange import Query
from orris.telemetry.tracecontext import Call, ModelPrediction

MAX_LOGGED_WARNINGS = 20
"""Warnings of one answer that a line of the log names."""


class Outcome(NamedTuple):
    """The outcome of an exchange, as far as it is known.

    Attributes:
        live: The version that answers.
        query: The rows.
        answers: The answers to them.
        usual: No row is worth a warning.
        call: The call of the model.
    """

    live: Live | None = None
    query: Query | None = None
    answers: Answers | None = None
    usual: bool = True
    call: Call | None = None


def prediction_of(outcome: Outcome, label: str, failure: str) -> ModelPrediction | None:
    """The model's part of a request, for its span; ``None``: the model was not called."""
    live, query, _, _, call = outcome
    if live is None or query is None or call is None:
        return None
    return ModelPrediction(live.engine.manifest.name, live.version, call, len(query.rows), label, failure)


def answered_of(outcome: Outcome) -> tuple[int, str, tuple[str, ...]]:
    """Rows that were answered, a single row's class, and the unusual values, which are counted; for the log."""
    live, query, answers, usual, _ = outcome
    if live is None or query is None or answers is None:
        return 0, "", ()
    n_rows, label = len(query.rows), ""
    if n_rows == 1 and answers.labels is not None:
        label = live.engine.text_labels[answers.labels[0]]
    return n_rows, label, () if usual and not query.unknown else _count_warnings(live, query)


def _count_warnings(live: Live, query: Query) -> tuple[str, ...]:
    """Count the unusual values of these rows; returns them for the log: ``column:kind``, each once."""
    names, warnings = live.engine.schema.names, live.counts.warnings
    found: dict[str, None] = {}
    for _, column, kind in live.engine.watch.kinds(query.rows):
        warnings[names[column], kind] += 1
        found[f"{names[column]}:{kind}"] = None
    if query.unknown:
        # Callers choose these names: as a label each would be a series of its own.
        warnings["", UNKNOWN_COLUMN] += len(query.unknown)
        found[UNKNOWN_COLUMN] = None
    return tuple(found)[:MAX_LOGGED_WARNINGS]
