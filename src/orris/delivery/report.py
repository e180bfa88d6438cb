"""A promotion as Markdown: the pull request's body, the commit message and the summary of the job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orris.delivery.promotion import Promotion
from orris.delivery.scoring import Score


def commit_message(promotion: Promotion) -> str:
    """The title, the changes and the findings of the gates."""
    old, new = promotion.target.pins, promotion.wanted
    lines = [
        promotion.title,
        "",
        f"model: {old.model_version} -> {new.model_version}",
        f"image: {old.image_digest} -> {new.image_digest}",
    ]
    gates = [f"{gate.name}: {'passed' if gate.passed else 'FAILED'}, {gate.found}" for gate in promotion.findings.gates]
    return "\n".join([*lines, "", *gates]) + "\n"


def markdown(promotion: Promotion, diff: str) -> str:
    """The whole report."""
    found = promotion.findings
    parts = [f"## {promotion.title}", _headline(promotion), _table(("gate", "", "found"), _gate_rows(promotion))]
    if found.differences:
        rows = [
            (f"`{_cell(each.column)}`" if each.column else "", each.change, "yes" if each.breaks else "no")
            for each in found.differences
        ]
        parts += ["### Schema", _table(("column", "change", "breaks callers"), rows)]
    if found.scores and promotion.live is not None:
        header = ("metric", f"live {promotion.live.version}", promotion.wanted.model_version, "difference", "")
        parts += ["### Metrics", _table(header, [score_cells(score) for score in found.scores if score.direction])]
    if diff:
        parts += ["### Change", f"```diff\n{diff}```"]
    return "\n\n".join(parts) + "\n"


def score_cells(score: Score) -> tuple[str, str, str, str, str]:
    """Name, live value, candidate's value, difference, verdict."""
    difference = "" if score.live is None or score.candidate is None else f"{score.candidate - score.live:+.6g}"
    verdict = "**worse**" if score.worse else ("ok" if score.direction and score.live is not None else "not judged")
    return score.name, _number(score.live), _number(score.candidate), difference, verdict


def _headline(promotion: Promotion) -> str:
    origin = f" from {promotion.source.name}" if promotion.source is not None and not promotion.rollback else ""
    verdict = "Every gate is passed." if promotion.findings.passed else "**A gate failed: nothing is changed.**"
    same = promotion.live is not None and promotion.live.digest == promotion.candidate.digest
    note = " Both versions give the same answers (equal digests)." if same else ""
    pins = promotion.wanted
    return (
        f"`{promotion.candidate.name}` {promotion.target.pins.model_version} → **{pins.model_version}**{origin}, "
        f"image `{promotion.target.repository}@{pins.image_digest}`. {verdict}{note}"
    )


def _gate_rows(promotion: Promotion) -> Iterable[tuple[str, ...]]:
    return ((gate.name, "passed" if gate.passed else "**failed**", gate.found) for gate in promotion.findings.gates)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(text: str) -> str:
    """Escape foreign text (column names, levels) for a table cell.

    It must neither end the cell nor become markup or a mention.
    """
    safe = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("\r", " ")
    return safe.replace("@", "@\u200b") if "sha256" not in safe else safe


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
