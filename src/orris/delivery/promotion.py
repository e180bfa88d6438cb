"""One promotion: from the request to the plan, from the plan to the commit.

::

    environments + version ──plan──> Promotion (pins, gates, new text) ──report──> Markdown
                                          └──carry_out──> commit on a branch ──> push ──> pull request
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from orris.delivery.environment import Environment, Pins, check_digest, edit, read_pins
from orris.delivery.gates import Findings, Policy, Version, image_gate, source_gate, succession_gates, version_gates
from orris.delivery.repository import Repository
from orris.errors import PromotionError


@dataclass(frozen=True, slots=True)
class Promotion:
    """The changes that a promotion would make.

    Attributes:
        source: The environment that ran it before; ``None``: it comes from nowhere, as the first one does.
        target: The environment that is changed.
        wanted: What it will run.
        rollback: Whether this is the way back.
        candidate: The version that it will run.
        live: The version that it runs; ``None``: nothing yet.
        findings: What the gates found.
        text: The new content of the target's file.
    """

    source: Environment | None
    target: Environment
    wanted: Pins
    rollback: bool
    candidate: Version
    live: Version | None
    findings: Findings
    text: str

    @property
    def changes(self) -> bool:
        """Whether the target does not run this already."""
        return self.wanted != self.target.pins

    @property
    def branch(self) -> str:
        """The branch that it is committed on."""
        return f"{'rollback' if self.rollback else 'promote'}/{self.target.name}-{self.wanted.model_version}"

    @property
    def title(self) -> str:
        """A line that summarises the promotion."""
        version = f"{self.candidate.name} {self.wanted.model_version}"
        return (
            f"Roll {self.target.name} back to {version}"
            if self.rollback
            else f"Promote {version} to {self.target.name}"
        )

    def diff(self, path: str) -> str:
        """The change as a unified diff; ``path`` is the file's in the repository."""
        old, new = self.target.text.splitlines(keepends=True), self.text.splitlines(keepends=True)
        return "".join(difflib.unified_diff(old, new, f"a/{path}", f"b/{path}"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result: the commit, where it was pushed, and the pull request's address; empty where not done."""

    commit: str = ""
    pushed: bool = False
    pull_request: str = ""


def wanted_pins(version: str, source: Environment | None, target: Environment, image_digest: str) -> Pins:
    """The target's new pins: the version with the image that is named, else the source's, else its own.

    Raises:
        PromotionError: The digest is malformed.
    """
    if image_digest:
        return Pins(check_digest(image_digest, "--image-digest"), version)
    return Pins((source or target).pins.image_digest, version)


def earlier_pins(target: Environment, repository: Repository) -> Pins:
    """The target's previous pins: the newest in the history of its file that differ from the current ones.

    Raises: PromotionError: The history has no other pins.
    """
    for commit, text in repository.earlier(target.file):
        try:
            pins = read_pins(text, f"{target.file} in {commit[:12]}")
        except PromotionError:  # written before the tree had this form
            continue
        if pins != target.pins and pins.has_model and pins.has_image:
            return pins
    raise PromotionError(
        f"{target.file}: its history holds no other promoted version, so there is no way back "
        "(a shallow clone has no history: fetch all of it)"
    )


def plan(
    *,
    source: Environment | None,
    target: Environment,
    wanted: Pins,
    candidate: Version,
    live: Version | None,
    policy: Policy,
    rollback: bool = False,
) -> Promotion:
    """Check every gate.

    A rollback checks only that the version is intact and that the image exists: it was live before, and may be urgent.
    """
    gates = [] if source is None or rollback else [source_gate(source, target, wanted)]
    gates += [image_gate(wanted, target.repository), *version_gates(candidate)]
    findings = Findings(()) if rollback else succession_gates(candidate, live, policy)
    findings = replace(findings, gates=(*gates, *findings.gates))
    text = edit(target.text, wanted, str(target.file))
    return Promotion(source, target, wanted, rollback, candidate, live, findings, text)


def carry_out(promotion: Promotion, repository: Repository, message: str, *, push: bool, body: str) -> Outcome:
    """Commit on a branch; with ``push`` push it, and in CI open the pull request.

    Raises:
        PromotionError: The file has changes, the branch exists, or git or ``gh`` refused.
    """
    repository.require_clean(promotion.target.file)
    repository.require_no_branch(promotion.branch)
    outcome = Outcome(repository.commit(promotion.target.file, promotion.text, promotion.branch, message))
    if push:
        repository.push(promotion.branch)
        outcome = replace(outcome, pushed=True)
        if in_ci():
            outcome = replace(
                outcome, pull_request=repository.open_pull_request(promotion.branch, promotion.title, body)
            )
    return outcome


def in_ci() -> bool:
    """Whether a CI system runs this process: they all set ``CI``."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def tree_path(promotion: Promotion, repository: Repository | None) -> str:
    """The target's file as the diff names it: from the repository's root, or as it was given where there is none."""
    file: Path = promotion.target.file
    return file.as_posix() if repository is None else repository.relative(file)
