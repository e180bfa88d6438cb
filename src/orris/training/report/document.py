"""The report of a version: ``report.html``, ``report.md`` and ``metrics.json``, all from one evaluation.

``orris.reporting`` makes the pages: one file each, without scripts, with everything escaped that comes from the data.
The same arguments give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from orris import metrics
from orris.reporting.pages import embedded, heads, markdown, render
from orris.schema import Bounds, Column, Kind, Schema
from orris.training.evaluation import Evaluation
from orris.training.gates import GateResult
from orris.training.report.parity_words import parity_words
from orris.training.report.plot_words import PLOTS
from orris.training.report.plots import MAX_CLASSES_IN_GRID
from orris.training.split_gain import LibraryImportance
from orris.verdict import Verdict

TEMPLATES = Path(__file__).parent / "templates"
MAX_MATRIX_CLASSES = 20
MAX_LEVELS = 12
MAX_IMPORTANCES = 30

BASELINES = {
    "classification": "always the most frequent class, with the classes' shares as probabilities",
    "regression": "always the mean of the target",
    "outlier detection": "none, since there is no target",
    "clustering": "none, since there is no target",
}
"""The answer that looks at no column, in words; ``scores.baseline_metrics`` measures it."""

_ANSWERS = {
    "classification": "classes",
    "outlier detection": "answers, -1 for an outlier and 1",
    "clustering": "clusters",
}

Rows = list[tuple[str, ...]]


def write_report(
    folder: Path,
    *,
    name: str,
    version: str,
    schema: Schema,
    evaluation: Evaluation,
    provenance: Mapping[str, str],
    verdict: Verdict | None,
    plots: Mapping[str, Path],
    parameters: Mapping[str, Any],
    gates: Sequence[GateResult] = (),
    importance: LibraryImportance | None = None,
) -> None:
    """Write ``report.html``, ``report.md`` and ``metrics.json``.

    Args:
        folder: Receives the three files; made if it does not exist.
        name: The model's name.
        version: Its version.
        schema: The contract, shown as a table.
        evaluation: What was measured.
        provenance: Shown as it is: data digest, git commit, library versions, by their titles.
        verdict: What the parity gate found; ``None``: it was not run, which the report then says.
        plots: PNG files by name, as ``plots.draw`` gives them; embedded in the HTML.
        parameters: Settings of the training and of the pipeline; values are shown as text.
        gates: What the gates found.
        importance: What the model's own library says of its columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = {
        "name": name,
        "version": version,
        "summary": _summary(schema, evaluation),
        "headline": _headline(evaluation),
        "notes": evaluation.notes,
        "parity": parity_words(verdict, schema.task),
        "metrics": _metrics(evaluation),
        "gate_heads": heads("gate", "#measured", "passed"),
        "gates": [(str(result.gate), repr(result.value), "yes" if result.passed else "no") for result in gates],
        "figures": _figures(plots, evaluation),
        **_classes(evaluation),
        **_importance(importance),
        "schema_heads": heads("column", "kind", "range or levels in training", "missing", "hard bounds", "example"),
        "columns": [_column(column) for column in schema.columns],
        "target": _target(schema),
        "pair_heads": heads("what", "value"),
        "provenance": [(key, str(value)) for key, value in provenance.items()],
        "parameters": [(key, _value(value)) for key, value in parameters.items()],
    }
    (folder / "report.html").write_text(render(TEMPLATES, "report.html.j2", context), encoding="utf-8")
    (folder / "report.md").write_text(render(TEMPLATES, "report.md.j2", context), encoding="utf-8")
    numbers = _numbers(name, version, evaluation, gates, importance)
    (folder / "metrics.json").write_text(
        json.dumps(numbers, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _number(value: float | None, *, like: float | None = None) -> str:
    """Four decimals for ordinary sizes, five digits for others; written as ``like`` would be, if given."""
    if value is None:
        return "–"
    size = abs(value if like is None else like)
    return f"{value:.4f}" if 1e-3 <= size < 10 or size == 0 else f"{value:.5g}"


def _summary(schema: Schema, evaluation: Evaluation) -> str:
    what = "a number" if schema.task == "regression" else f"{len(schema.labels)} {_ANSWERS[schema.task]}"
    fitted = f"fitted on {evaluation.n_train:,} rows, " if evaluation.n_train else ""
    folds = f", cross-validated in {evaluation.n_folds} folds" if evaluation.n_folds else ""
    return (
        f"{schema.task.capitalize()}: predicts {schema.target} ({what}) from {schema.n_columns} "
        f"column{'s' * (schema.n_columns != 1)}; {fitted}judged on {evaluation.n_evaluated:,} rows{folds}."
    )


def _headline(evaluation: Evaluation) -> list[dict[str, str]]:
    return [
        {
            "title": metric.title,
            "value": _number(evaluation.metrics[metric.name]),
            "baseline": _baseline(evaluation, metric.name),
            "where": "" if evaluation.n_train else "on the rows given",
        }
        for metric in metrics.headline(evaluation.metrics)
    ]


def _baseline(evaluation: Evaluation, name: str) -> str:
    """The baseline's value, written as the metric's would be; a dash where it has none."""
    return _number(evaluation.baseline.get(name), like=evaluation.metrics[name])


def _metrics(evaluation: Evaluation) -> dict[str, Any]:
    rows: Rows = []
    for key, value in evaluation.metrics.items():
        if key.startswith("cv_"):
            continue
        mean, spread = evaluation.metrics.get(f"cv_{key}_mean"), evaluation.metrics.get(f"cv_{key}_std")
        folds = "–" if mean is None or spread is None else f"{_number(mean)} ± {_number(spread, like=mean)}"
        rows.append((key, _number(value), _baseline(evaluation, key), folds, metrics.meaning(key)))
    judged = "rows held out" if evaluation.n_train else "rows given"
    return {
        "caption": (
            f"On the {evaluation.n_evaluated:,} {judged}; baseline: {BASELINES[evaluation.task]}; cross-validation:"
            " mean ± standard deviation over the folds"
        ),
        "heads": heads("metric", f"#{judged}", "#baseline", "#cross-validation", "in words"),
        "rows": rows,
        "short_rows": [row[:-1] for row in rows],
    }


def _classes(evaluation: Evaluation) -> dict[str, Any]:
    per_class = [
        (
            each.label,
            *(_number(value) for value in (each.precision, each.recall, each.f1, each.roc_auc, each.average_precision)),
            _counted(each.support, evaluation.n_evaluated),
            _counted(fitted, evaluation.n_train),
        )
        for each, fitted in zip_longest(evaluation.per_class, evaluation.class_rows[: len(evaluation.per_class)])
    ]
    small = evaluation.confusion is not None and len(evaluation.labels) <= MAX_MATRIX_CLASSES
    matrix = (
        [[_counted(count, sum(row)) for count in row] for row in evaluation.confusion.tolist()]
        if small and evaluation.confusion is not None
        else []
    )
    return {
        "per_class": per_class,
        "class_heads": heads(
            "class",
            "#precision",
            "#recall",
            "#F1",
            "#ROC area",
            "#average precision",
            "#rows judged on",
            "#rows fitted on",
        ),
        "threshold_heads": heads("threshold", "#precision", "#recall", "#F1", "#rows selected"),
        "thresholds": [
            (f"{each.threshold:.2f}", *map(_percent, (each.precision, each.recall, each.f1, each.selected)))
            for each in evaluation.thresholds
        ],
        "positive": evaluation.labels[1] if len(evaluation.labels) == 2 else "",
        "labels": list(evaluation.labels),
        "matrix": matrix,
        "matrix_heads": heads("true", *(f"#{markdown(label)}" for label in evaluation.labels)),
        "matrix_rows": [(label, *row) for label, row in zip(evaluation.labels, matrix, strict=False)],
        "classification_report": evaluation.report,
    }


def _counted(count: int | None, of: int) -> str:
    """A count with its share; a dash where it is not known."""
    if count is None:
        return "–"
    return f"{count:,} ({count / of:.1%})" if of else f"{count:,}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _importance(importance: LibraryImportance | None) -> dict[str, Any]:
    if importance is None:
        return {"importance_rows": []}
    left_out = len(importance.shares) - MAX_IMPORTANCES
    more = f", the {MAX_IMPORTANCES} largest of {len(importance.shares)} columns" if left_out > 0 else ""
    return {
        "importance_title": f"Feature importances by {importance.library}",
        "importance_caption": f"Share of each column: {importance.measure}{more}",
        "importance_heads": heads("column", "#share"),
        "importance_rows": [(name, f"{share:.1%}") for name, share in importance.shares[:MAX_IMPORTANCES]],
    }


def _figures(plots: Mapping[str, Path], evaluation: Evaluation) -> list[dict[str, Any]]:
    return [
        {
            "data": embedded(path),
            "alt": PLOTS[key].title if key in PLOTS else key,
            "caption": PLOTS[key].meaning if key in PLOTS else key,
            "wide": key == "confusion_matrix" and len(evaluation.labels) > MAX_CLASSES_IN_GRID,
        }
        for key, path in plots.items()
    ]


def _column(column: Column) -> tuple[str, ...]:
    if column.kind is Kind.CATEGORY:
        seen = _listed(column.levels) + (" (others: answered)" if column.unseen else " (others: rejected)")
    elif column.low is None or column.high is None:
        seen = "–"
    else:
        seen = f"{column.low:g} to {column.high:g}"
    bounds = "–" if column.bounds is None else _bounds(column.bounds)
    example = f"{column.example:g}" if isinstance(column.example, float) else _value(column.example)
    return column.name, column.kind.value, seen, "allowed" if column.missing else "rejected", bounds, example


def _bounds(bounds: Bounds) -> str:
    limits = (
        ("≥", bounds.minimum),
        (">", bounds.exclusive_minimum),
        ("≤", bounds.maximum),
        ("<", bounds.exclusive_maximum),
    )
    return ", ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None) or "–"


def _listed(values: Iterable[object]) -> str:
    shown = [str(value) for value in values]
    return ", ".join(shown[:MAX_LEVELS]) + (f" and {len(shown) - MAX_LEVELS} more" if len(shown) > MAX_LEVELS else "")


def _target(schema: Schema) -> str:
    return (
        f"Answers {schema.target}: {_listed(schema.labels)}."
        if schema.labels
        else f"Answers {schema.target}, a number."
    )


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value(each)}" for key, each in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(_value(each) for each in value) or "–"
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None or value == "" else str(value)


def _numbers(
    name: str,
    version: str,
    evaluation: Evaluation,
    gates: Sequence[GateResult],
    importance: LibraryImportance | None,
) -> dict[str, Any]:
    """The content of ``metrics.json``; metrics come first, for tools that read nothing else."""
    numbers: dict[str, Any] = {
        "metrics": evaluation.metrics,
        "name": name,
        "version": version,
        "task": evaluation.task,
        "rows": {"train": evaluation.n_train, "evaluated": evaluation.n_evaluated},
        "folds": evaluation.n_folds,
        "baseline": evaluation.baseline,
        "importance": {each.column: {"mean": each.mean, "std": each.std} for each in evaluation.importances},
        "notes": evaluation.notes,
    }
    if importance is not None:
        numbers["library_importance"] = {
            "library": importance.library,
            "measure": importance.measure,
            "shares": dict(importance.shares),
        }
    if gates:
        numbers["gates"] = [{"gate": str(each.gate), "value": each.value, "passed": each.passed} for each in gates]
    if evaluation.thresholds:
        numbers["thresholds"] = [asdict(each) for each in evaluation.thresholds]
    if evaluation.learning_curve:
        numbers["learning_curve"] = [asdict(each) for each in evaluation.learning_curve]
    if evaluation.confusion is not None:
        numbers["classes"] = [
            {field: getattr(each, field) for field in each.__dataclass_fields__} for each in evaluation.per_class
        ]
        numbers["confusion_matrix"] = {"labels": list(evaluation.labels), "counts": evaluation.confusion.tolist()}
    return numbers
