"""The parity verdict in plain words, for the report's readers."""

from __future__ import annotations

from typing import Any

from orris.metrics import Task
from orris.verdict import Verdict, duration

_SERVED = {
    "exact": (
        "The served model is a compiled copy (ONNX) of the trained pipeline: the same operations in the same precision."
    ),
    "skl2onnx-float64": (
        "The served model is a compiled copy (ONNX) of the trained pipeline, made by skl2onnx in double precision."
    ),
    "skl2onnx-float32": (
        "The served model is a compiled copy (ONNX) of the trained pipeline, made by skl2onnx in single precision."
    ),
    "partly-compiled": (
        "scikit-learn runs the first steps of the trained pipeline, and the rest is a compiled copy (ONNX): the server"
        " needs the extra 'sklearn'."
    ),
    "library-file": "The served model is the model file of the library that trained it; the server needs that library.",
    "scikit-learn": (
        "No compiled copy of the trained pipeline answered exactly as it does, so scikit-learn serves the pipeline"
        " itself. Its answers are right; it is slower, and the server needs the extra 'sklearn'."
    ),
}


def parity_words(verdict: Verdict | None, task: Task) -> dict[str, Any]:
    """The verdict for the templates: a badge, paragraphs, a table of facts, and the refused attempts."""
    if verdict is None:
        return _words(
            "not proven",
            "warn",
            "⚠️",
            ["The parity gate was not run, so nothing shows that the served model answers as the trained one."],
        )
    held = verdict.holds
    badge, tone, icon = ("compared", "good", "✅") if held else ("not the same", "bad", "❌")
    if held and verdict.proof is not None:
        badge = "proved"
    elif held and not verdict.compiled:
        badge, tone = "compared, not compiled", "warn"
    paragraphs = [_SERVED[verdict.strategy], *_proof(verdict), _comparison(verdict, task), _meaning(verdict, held)]
    words = _words(badge, tone, icon, paragraphs)
    words["facts"] = _facts(verdict, task)
    words["attempts"] = [(attempt.strategy, attempt.sentence()) for attempt in verdict.attempts]
    return words


def _words(badge: str, tone: str, icon: str, paragraphs: list[str]) -> dict[str, Any]:
    return {
        "badge": badge,
        "tone": tone,
        "icon": icon,
        "paragraphs": paragraphs,
        "facts": [],
        "fact_heads": [{"text": "what", "number": False}, {"text": "value", "number": True}],
        "attempts": [],
        "attempt_heads": [{"text": "way of serving", "number": False}, {"text": "why it was refused", "number": False}],
    }


def _proof(verdict: Verdict) -> list[str]:
    """The proof of the file and its assumptions, or the reason why its answers were only compared."""
    proof = verdict.proof
    if proof is None:
        reason = f": {verdict.unproved}" if verdict.unproved else ""
        return [f"Equality was compared on rows, not proved for every row{reason}."]
    matched = f"{proof.n_operators:,} operators and {proof.n_constants:,} constants"
    if proof.n_trees:
        matched = f"{proof.n_trees:,} trees with {proof.n_splits:,} splits and {proof.n_leaves:,} leaves, {matched}"
    reach = "so every answer has the same bits, for any row"
    if proof.equality == "rounding":
        reach = (
            "so every answer is the same formula, for any row; on training rows rounding makes a difference of at most"
            f" {proof.largest_rounding:.1g}"
        )
    return [
        f"Its file was read back and matched with the trained pipeline ({matched}), {reach}.",
        f"This assumes that {'; that '.join(proof.assumes)}.",
    ]


def _comparison(verdict: Verdict, task: str) -> str:
    origins = ", ".join(f"{n_rows:,} {origin}" for origin, n_rows in verdict.rows_by_origin.items())
    listed = f" ({origins})" if origins else ""
    difference, allowed = f"{verdict.largest_difference:.3g}", f"{verdict.tolerance:.3g} was allowed"
    if task == "regression":
        found = f"The largest difference of a value, relative to its size, was {difference}; {allowed}."
    else:
        n_labels = verdict.n_label_differences
        labels = "No label differed" if n_labels == 0 else f"{n_labels:,} label{'s' * (n_labels != 1)} differed"
        found = f"{labels}; the largest difference of a probability was {difference}, and {allowed}."
    return (
        f"Before it could be published, both answered the same {verdict.n_rows:,} rows{listed}, chosen to make them"
        f" disagree. {found}"
    )


def _meaning(verdict: Verdict, held: bool) -> str:
    if not held:
        return "The served model does not answer as the trained one: the metrics in this report do not describe it."
    if verdict.largest_difference == 0:
        return (
            "To the last bit, what was measured in training is what the server answers: the metrics in this report"
            " describe it."
        )
    return "What was measured in training is what the server answers: the metrics in this report describe it."


def _facts(verdict: Verdict, task: str) -> list[tuple[str, str]]:
    facts = [
        ("way of serving", verdict.strategy),
        ("family of models", verdict.family),
        ("evidence", "compared" if verdict.proof is None else f"proved ({verdict.proof.equality})"),
        ("rows compared", f"{verdict.n_rows:,}"),
    ]
    if task != "regression":
        facts.append(("labels that differ", f"{verdict.n_label_differences:,}"))
    return [
        *facts,
        ("largest difference", f"{verdict.largest_difference:.3g}"),
        ("allowed", f"{verdict.tolerance:.3g}"),
        ("one row, served model", duration(verdict.one_row_microseconds)),
        ("one row, trained pipeline", duration(verdict.one_row_microseconds_reference)),
    ]
