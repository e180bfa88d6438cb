"""*Orris Model Quality*.

Is the model asked what it was trained for, and does it still answer as it did, for the one who trains it.
"""

from __future__ import annotations

from tools.dashboards.frame import MODEL, Board, Row
from tools.dashboards.panels import (
    COUNT,
    INDEX,
    ROWS_RATE,
    SECONDS,
    SHARE,
    Column,
    Query,
    Steps,
    bars,
    chart,
    columns,
    number,
    prose,
)
from tools.dashboards.promql import quantile, summed, weighed

DRIFT: Steps = ((0.1, "yellow"), (0.25, "red"))
SOME: Steps = ((0.01, "yellow"), (0.05, "red"))
AGE: Steps = ((60 * 86_400, "yellow"), (90 * 86_400, "red"))
ABOUT = """**PSI**, the population stability index, compares the rows of requests with the training rows, bin by bin:
below 0.1 stable, to 0.25 moderate, above that shifted. It needs 20 rows per bin (200 for a number with ten bins).

**Missing** and **unseen** are shares of the rows in the window.

None of this needs labels, and none of it shows that an answer is wrong: a shift is a reason to look.
Bins then and now: `GET /api/v1/model/drift`. What to do: docs/alerts.md.
"""
NO_SHADOW = "no shadow is asked"
BY_COLUMN = "model, version, column"


def board() -> Board:
    """The dashboard."""
    about = (
        "The model's inputs and answers against its training rows: drift, missing and unseen values, class mix, shadow,"
        " age."
    )
    return Board(
        "orris-quality",
        "Orris Model Quality",
        about,
        [_now(), _drift(), _answers(), _shadow()],
        single="model",
    )


def _now() -> Row:
    age = f"time() - max(orris_model_created_timestamp_seconds{{{MODEL}}})"
    worst = f"max({weighed('orris_drift_psi', MODEL, BY_COLUMN)})"
    answers = f"max({weighed('orris_drift_prediction_psi', MODEL, 'model, version')})"
    unseen = f"max(orris_drift_unseen_ratio{{{MODEL}}}) or vector(0)"
    unusual = (
        f"({summed('orris_input_warnings_total', matchers=MODEL)} or vector(0)) /"
        f" {summed('orris_predictions_total', matchers=MODEL)}"
    )
    return Row(
        "Now",
        [
            number("Model age", "Of the newest version, since it was made.", age, unit=SECONDS, limits=AGE),
            number(
                "Rows in the window", "What the indices are made of.", f"sum(orris_drift_rows{{{MODEL}}})", unit=COUNT
            ),
            number("Worst column", "Largest index of any column.", worst, unit=INDEX, limits=DRIFT, decimals=2),
            number("Predictions", "Largest index of the answers.", answers, unit=INDEX, limits=DRIFT, decimals=2),
            number("Unseen levels", "Largest share of any column.", unseen, unit=SHARE, limits=SOME),
            number(
                "Unusual values",
                "Missing, unseen, or out of range, per row that was answered.",
                unusual,
                unit=SHARE,
                limits=SOME,
            ),
        ],
    )


def _drift() -> Row:
    index = weighed("orris_drift_psi", MODEL, BY_COLUMN)
    missing = weighed("orris_drift_missing_ratio", MODEL, BY_COLUMN)
    unseen = weighed("orris_drift_unseen_ratio", MODEL, BY_COLUMN)
    return Row(
        "Inputs",
        [
            columns(
                "Columns",
                "Index, missing and unseen values of each column, over all replicas.",
                Column("PSI", index, INDEX, DRIFT),
                Column("Missing", missing, SHARE),
                Column("Unseen", unseen, SHARE, SOME),
                labels=("model", "version", "column"),
                width=16,
            ),
            prose("How to read this", ABOUT),
            chart(
                "Index by column",
                "Lines at 0.1 and 0.25.",
                Query(index, "{{version}} {{column}}"),
                unit=INDEX,
                limits=DRIFT,
                width=12,
            ),
            bars(
                "Index now",
                "By column, the latest.",
                Query(index, "{{version}} {{column}}"),
                unit=INDEX,
                limits=DRIFT,
                width=12,
            ),
            chart(
                "Missing values",
                "Share of the rows without a value.",
                Query(missing, "{{version}} {{column}}"),
                unit=SHARE,
            ),
            chart(
                "Unseen levels",
                "Share with a level that training never saw.",
                Query(unseen, "{{version}} {{column}}"),
                unit=SHARE,
                limits=SOME,
                empty="no column holds categories",
            ),
            chart(
                "Input warnings",
                "Values a second: missing, unseen, out_of_range.",
                Query(summed("orris_input_warnings_total", "column, kind", MODEL), "{{column}} {{kind}}"),
                unit="cps",
            ),
        ],
    )


def _answers() -> Row:
    rows = "orris_predictions_total"
    by_class, of_all = summed(rows, "label", MODEL), summed(rows, matchers=MODEL)
    mix = f"{by_class} / ignoring (label) group_left () {of_all}"
    by_version = (
        f"{summed(rows, 'version, label', MODEL)} / on (version) group_left () {summed(rows, 'version', MODEL)}"
    )
    share = f"{summed(rows, 'model, version', MODEL)} / on (model) group_left () {summed(rows, 'model', MODEL)}"
    took = quantile(0.99, summed("orris_inference_duration_seconds_bucket", "le, version", MODEL))
    return Row(
        "Answers",
        [
            chart(
                "Class mix", "Share of each predicted class.", Query(mix, "{{label}}"), unit=SHARE, top=1, stacked=True
            ),
            chart(
                "Class mix by version",
                "Do two versions answer alike?",
                Query(by_version, "{{version}} {{label}}"),
                unit=SHARE,
                top=1,
            ),
            chart(
                "Drift of the predictions",
                "Index of the answers against those to the training rows.",
                Query(weighed("orris_drift_prediction_psi", MODEL, "model, version"), "{{version}}"),
                unit=INDEX,
                limits=DRIFT,
            ),
            chart(
                "Which version answers", "Share of the rows.", Query(share, "{{model}} {{version}}"), unit=SHARE, top=1
            ),
            chart(
                "Time in the model", "99th percentile of a call, by version.", Query(took, "{{version}}"), unit=SECONDS
            ),
            chart(
                "Rows in the window",
                "Below 200 a number has no index.",
                Query(f"sum by (model, version) (orris_drift_rows{{{MODEL}}})", "{{model}} {{version}}"),
                unit=COUNT,
            ),
        ],
    )


def _shadow() -> Row:
    rows = Query(summed("orris_shadow_rows_total", "version, outcome", MODEL), "{{version}} {{outcome}}")
    largest = Query(f"max by (version) (orris_shadow_largest_difference{{{MODEL}}})", "{{version}}")
    agreed = summed("orris_shadow_rows_total", "version", MODEL + ',outcome="agreed"')
    asked = summed("orris_shadow_rows_total", "version", MODEL + ',outcome=~"agreed|differed"')
    changes = Query(f"sum by (model, outcome) (orris_swaps_total{{{MODEL}}})", "{{model}} {{outcome}}")
    return Row(
        "Versions beside each other",
        [
            chart(
                "Shadow agreement",
                "Share of the rows answered alike.",
                Query(f"{agreed} / {asked}", "{{version}}"),
                unit=SHARE,
                top=1,
                width=6,
                empty=NO_SHADOW,
            ),
            chart(
                "Shadow rows",
                "Dropped: it could not keep up.",
                rows,
                unit=ROWS_RATE,
                width=6,
                stacked=True,
                empty=NO_SHADOW,
            ),
            chart(
                "Largest difference",
                "Of a probability or a value, since the start.",
                largest,
                unit=INDEX,
                width=6,
                empty=NO_SHADOW,
            ),
            chart("Changes of version", "Since the start, by outcome.", changes, unit=COUNT, width=6, empty="none yet"),
        ],
    )
