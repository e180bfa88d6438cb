"""The gates of a promotion: the conditions that a version must meet before an environment may run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orris.delivery.environment import Environment, Pins
from orris.delivery.scoring import DEFAULT_TOLERANCE, Score, compare
from orris.schema import Schema
from orris.schema.compatibility import Difference, differences
from orris.verdict import Verdict

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate's finding: whether it lets the version pass, and the reason in a sentence."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class Version:
    """A published version, as the command line found it in the store.

    Attributes:
        name: The model's name.
        version: Its version.
        digest: The manifest's digest: equal for models that answer equally.
        schema: What callers rely on.
        verdict: What the parity gate found when it was trained.
        metrics: What was measured when it was trained.
        n_files: Files that were checked against the manifest.
        problem: Why it is not sound; empty: every file is what the manifest says.
        signature: What became of its signature: empty if no key is configured.
        signature_problem: Why the signature does not hold; empty: it does, or was not asked for.
    """

    name: str
    version: str
    digest: str
    schema: Schema
    verdict: Verdict
    metrics: Mapping[str, float] = field(default_factory=dict)
    n_files: int = 0
    problem: str = ""
    signature: str = ""
    signature_problem: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """How strict the gates are.

    Attributes:
        allow_schema_change: Differences that break callers are shown, and let through.
        tolerance: How much worse a metric may be, as a share of the live value.
        judged: Metrics that count; none: all with a known direction.
    """

    allow_schema_change: bool = False
    tolerance: float = DEFAULT_TOLERANCE
    judged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the gates found."""

    gates: tuple[Gate, ...]
    differences: tuple[Difference, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate lets the version pass."""
        return all(gate.passed for gate in self.gates)


def source_gate(source: Environment, target: Environment, wanted: Pins) -> Gate:
    """The source environment must run this very version, so that the version that was tried is promoted."""
    runs = source.pins.model_version
    if source.model != target.model:
        return Gate(
            "source", passed=False, found=f"{source.name} serves {source.model}, and {target.name} {target.model}"
        )
    if not source.pins.has_model:
        return Gate("source", passed=False, found=f"nothing has been promoted to {source.name} yet")
    found = f"{source.name} runs {runs}" + ("" if runs == wanted.model_version else f", not {wanted.model_version}")
    return Gate("source", passed=runs == wanted.model_version, found=found)


def image_gate(wanted: Pins, repository: str) -> Gate:
    """The image must be a real one, by digest."""
    if not wanted.has_image:
        return Gate(
            "image", passed=False, found="no image has been promoted here; name one with  --image-digest sha256:…"
        )
    return Gate("image", passed=True, found=f"{repository}@{wanted.image_digest[:19]}…")


def version_gates(version: Version) -> list[Gate]:
    """The conditions on any version: it is intact, signed if a key is configured, and has a parity verdict."""
    sound = version.problem or f"{version.n_files} files are what the manifest says"
    gates = [Gate("bundle", passed=not version.problem, found=sound)]
    if version.signature or version.signature_problem:
        gates.append(
            Gate(
                "signature", passed=not version.signature_problem, found=version.signature_problem or version.signature
            )
        )
    return [*gates, _parity_gate(version.verdict)]


def _parity_gate(verdict: Verdict) -> Gate:
    if verdict.n_rows <= 0:
        return Gate(
            "parity", passed=False, found="no row was compared with the fitted pipeline; publish the model again"
        )
    found = (
        f"{verdict.strategy}, {verdict.n_rows:,} rows compared, {verdict.n_label_differences} labels differ, "
        f"largest difference {verdict.largest_difference:.3g} (allowed {verdict.tolerance:.3g})"
    )
    return Gate("parity", passed=verdict.holds, found=found)


def succession_gates(candidate: Version, live: Version | None, policy: Policy) -> Findings:
    """The conditions on a version that replaces ``live`` (``None``: none runs yet): schema and metrics."""
    if live is None:
        found = "nothing is live, so there is nothing to compare with"
        return Findings((Gate("schema", passed=True, found=found), Gate("metrics", passed=True, found=found)))
    changed = tuple(differences(live.schema, candidate.schema))
    scores = tuple(compare(live.metrics, candidate.metrics, policy.tolerance, policy.judged))
    return Findings((_schema_gate(changed, live, policy), _metrics_gate(scores, live, policy)), changed, scores)


def _schema_gate(changed: Sequence[Difference], live: Version, policy: Policy) -> Gate:
    breaking = [difference for difference in changed if difference.breaks]
    if not breaking:
        harmless = f"; {len(changed)} harmless differences" if changed else ""
        return Gate("schema", passed=True, found=f"callers of {live.version} notice nothing{harmless}")
    named = "; ".join(map(str, breaking[:_MOST_NAMED])) + (
        f"; and {len(breaking) - _MOST_NAMED} more" if len(breaking) > _MOST_NAMED else ""
    )
    if policy.allow_schema_change:
        return Gate("schema", passed=True, found=f"allowed with --allow-schema-change: {named}")
    return Gate("schema", passed=False, found=f"{named}; let it through with  --allow-schema-change")


def _metrics_gate(scores: Sequence[Score], live: Version, policy: Policy) -> Gate:
    judged = [score for score in scores if score.direction and score.live is not None]
    worse = [score for score in judged if score.worse]
    allowed = f"{policy.tolerance * 100:.3g} %"
    if worse:
        named = "; ".join(
            f"{score.name} {_value(score.live)} -> {_value(score.candidate)}" for score in worse[:_MOST_NAMED]
        )
        more = f"; and {len(worse) - _MOST_NAMED} more" if len(worse) > _MOST_NAMED else ""
        return Gate("metrics", passed=False, found=f"worse than {live.version} by more than {allowed}: {named}{more}")
    if not judged:
        return Gate("metrics", passed=True, found=f"{live.version} has no metrics to compare with")
    return Gate(
        "metrics",
        passed=True,
        found=f"none of {len(judged)} is worse than that of {live.version} by more than {allowed}",
    )


def _value(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.6g}"
