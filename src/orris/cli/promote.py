"""``orris promote``: moves a published version to an environment of the GitOps tree.

This module reads the store; ``delivery`` decides.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_json, print_table, say

if TYPE_CHECKING:
    from orris.bundle import Manifest
    from orris.delivery.environment import Environment, Pins
    from orris.delivery.gates import Version
    from orris.delivery.promotion import Outcome, Promotion
    from orris.delivery.repository import Repository
    from orris.store import Store

EXAMPLES = """Example:  orris promote 1.2.3 --from dev --to stage
·   the first one:  orris promote 1.2.3 --to dev --image-digest sha256:…
·   the way back:  orris promote --rollback --to stage"""


def promote(
    version: Annotated[str, typer.Argument(help="Version of the model, such as 1.2.3; none with --rollback.")] = "",
    to: Annotated[str, typer.Option("--to", help="Environment that is changed, such as stage.")] = "",
    source: Annotated[
        str, typer.Option("--from", help="Environment that runs the version now; its image goes along.")
    ] = "",
    image_digest: Annotated[str, typer.Option(help="The server's image, sha256:…, instead of that of --from.")] = "",
    rollback: Annotated[bool, typer.Option("--rollback", help="Return to what the environment ran before.")] = False,
    allow_schema_change: Annotated[
        bool, typer.Option("--allow-schema-change", help="Let differences pass that break callers.")
    ] = False,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How much worse a metric may be, as a share of the live value.")
    ] = 0.02,
    metric: Annotated[list[str] | None, typer.Option(help="Judge only this metric; repeat for more.")] = None,
    tree: Annotated[Path, typer.Option(help="The GitOps tree.")] = Path("deploy"),
    verify_key: Annotated[
        str | None, typer.Option(help="Public key (PEM) that signatures must verify with [or ORRIS_VERIFY_KEY].")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Also write the Markdown report to this file, whatever the gates find.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the gates and show the diff; commit nothing.")
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Push the branch; in CI, open the pull request with gh.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Promote a version to an environment: check the gates, show the diff, commit it on a branch.

    The commit changes two values of one file, the image's digest and the model's version; working tree and index stay
    as they are.
    """
    from orris.delivery import report as reports  # noqa: PLC0415
    from orris.delivery.environment import read_environment  # noqa: PLC0415
    from orris.delivery.promotion import carry_out, tree_path  # noqa: PLC0415
    from orris.errors import PromotionError  # noqa: PLC0415

    _check_usage(version, to, source, image_digest, rollback)
    target = read_environment(tree, to)
    origin = read_environment(tree, source) if source else None
    repository = _repository(tree, needed=rollback or not dry_run)
    if repository is not None and not dry_run:
        repository.require_clean(target.file)  # before the store is asked: it may be far away
    pins = _wanted(version, origin, target, image_digest, repository if rollback else None)
    promotion = _planned(
        origin, target, pins, rollback, (allow_schema_change, tolerance, tuple(metric or ())), (store, verify_key)
    )
    path = tree_path(promotion, repository)
    diff = promotion.diff(path)
    body = reports.markdown(promotion, diff)
    if report is not None:
        report.write_text(body, "utf-8")
    if not as_json:
        _show(promotion, diff)
    outcome = None
    if promotion.findings.passed and promotion.changes and not dry_run and repository is not None:
        outcome = carry_out(promotion, repository, reports.commit_message(promotion), push=push, body=body)
    _tell_outcome(promotion, outcome, diff, dry_run=dry_run, as_json=as_json)
    if not promotion.findings.passed:
        failed = [gate.name for gate in promotion.findings.gates if not gate.passed]
        raise PromotionError(
            f"{promotion.title}: refused by {len(failed)} gate{'s' * (len(failed) != 1)} ({', '.join(failed)}); nothing"
            " is changed"
        )


def _check_usage(version: str, to: str, source: str, image_digest: str, rollback: bool) -> None:
    from orris.errors import SettingsError  # noqa: PLC0415

    if not to:
        raise SettingsError("say which environment is changed, as in  orris promote 1.2.3 --from dev --to stage")
    if rollback and (version or source or image_digest):
        raise SettingsError(
            "--rollback finds what ran before by itself: leave out the version, --from and --image-digest"
        )
    if not rollback and not version:
        raise SettingsError(
            f"say which version, as in  orris promote 1.2.3 --to {to}, or  orris promote --rollback --to {to}"
        )
    if source == to:
        raise SettingsError(f"--from {source} --to {to}: these are the same environment")


def _repository(tree: Path, *, needed: bool) -> Repository | None:
    from orris.delivery.repository import Repository  # noqa: PLC0415
    from orris.errors import PromotionError  # noqa: PLC0415

    try:
        return Repository(tree)
    except PromotionError:
        if needed:
            raise
        return None


def _wanted(
    version: str, source: Environment | None, target: Environment, image_digest: str, history: Repository | None
) -> Pins:
    from orris.delivery.promotion import earlier_pins, wanted_pins  # noqa: PLC0415
    from orris.store import as_version  # noqa: PLC0415

    if history is not None:
        return earlier_pins(target, history)
    return wanted_pins(as_version(version), source, target, image_digest)


def _planned(
    source: Environment | None,
    target: Environment,
    pins: Pins,
    rollback: bool,
    strictness: tuple[bool, float, tuple[str, ...]],
    options: tuple[str | None, str | None],
) -> Promotion:
    """Read the versions from the store, and check the gates."""
    from orris.delivery.gates import Policy  # noqa: PLC0415
    from orris.delivery.promotion import plan  # noqa: PLC0415
    from orris.settings import read_settings  # noqa: PLC0415
    from orris.store import Store  # noqa: PLC0415

    settings = read_settings(os.environ, store=options[0], verify_key=options[1])
    models = Store(settings.store)
    candidate = _checked(models, target.model, pins.model_version, settings.verify_key)
    live = _live(models, target) if target.pins.has_model and not rollback else None
    return plan(
        source=source,
        target=target,
        wanted=pins,
        candidate=candidate,
        live=live,
        policy=Policy(*strictness),
        rollback=rollback,
    )


def _live(models: Store, target: Environment) -> Version:
    from orris.errors import NotFoundError, PromotionError  # noqa: PLC0415

    try:
        return _described(models.manifest(f"{target.model}@{target.pins.model_version}"))
    except NotFoundError as error:
        raise PromotionError(
            f"{target.file}: what it runs is not in the store, so nothing can be compared with it: {error}"
        ) from None


def _checked(models: Store, name: str, version: str, verify_key: str) -> Version:
    """A version with every file checked, and its signature if a key is configured."""
    from dataclasses import replace  # noqa: PLC0415

    from orris.errors import BundleError  # noqa: PLC0415

    found = _described(models.manifest(f"{name}@{version}"))
    try:
        folder = models.fetch(f"{name}@{version}")
    except BundleError as error:
        return replace(found, problem=str(error))
    if not verify_key:
        return found
    from orris.signing import verify  # noqa: PLC0415

    try:
        verify(folder, Path(verify_key))
    except BundleError as error:
        return replace(found, signature_problem=str(error))
    return replace(found, signature=f"verifies with {Path(verify_key).name}")


def _described(manifest: Manifest) -> Version:
    """The facts of a manifest that the gates need."""
    from orris.delivery.gates import Version  # noqa: PLC0415

    return Version(
        manifest.name,
        manifest.version,
        manifest.digest,
        manifest.schema,
        manifest.verdict,
        manifest.metrics,
        len(manifest.files),
    )


def _show(promotion: Promotion, diff: str) -> None:
    from orris.delivery.report import score_cells  # noqa: PLC0415

    found = promotion.findings
    rows = [(gate.name, "passed" if gate.passed else "FAILED", gate.found) for gate in found.gates]
    print_table(("gate", "", "found"), rows, title=promotion.title)
    for difference in found.differences:
        say(f"schema: {difference}{' (breaks callers)' if difference.breaks else ''}")
    if found.scores and promotion.live is not None:
        judged = [[cell.replace("*", "") for cell in score_cells(score)] for score in found.scores if score.direction]
        print_table(("metric", promotion.live.version, promotion.candidate.version, "difference", ""), judged)
    say(diff.rstrip("\n"))


def _tell_outcome(promotion: Promotion, outcome: Outcome | None, diff: str, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(_document(promotion, outcome, diff))
    elif not promotion.findings.passed:
        return
    elif not promotion.changes:
        say(f"nothing to do: {promotion.target.name} runs {promotion.wanted.model_version} with this image already")

    elif outcome is None:
        say("nothing is committed: this was a dry run" if dry_run else "nothing is committed")
    else:
        say(f"committed {outcome.commit[:12]} on the branch {promotion.branch}")
        if outcome.pull_request:
            say(f"pull request: {outcome.pull_request}")
        elif not outcome.pushed:
            say(
                f"next:  git push origin {promotion.branch}  and open a pull request; the cluster follows when it is"
                " merged"
            )


def _document(promotion: Promotion, outcome: Outcome | None, diff: str) -> dict[str, Any]:
    found = promotion.findings
    return {
        "model": promotion.candidate.name,
        "version": promotion.wanted.model_version,
        "image_digest": promotion.wanted.image_digest,
        "from": None if promotion.source is None else promotion.source.name,
        "to": promotion.target.name,
        "rollback": promotion.rollback,
        "before": promotion.target.pins,
        "passed": found.passed,
        "changes": promotion.changes,
        "gates": found.gates,
        "schema": found.differences,
        "metrics": found.scores,
        "diff": diff,
        "branch": promotion.branch if outcome is not None else None,
        "commit": outcome.commit if outcome is not None else None,
        "pushed": outcome is not None and outcome.pushed,
        "pull_request": (outcome.pull_request or None) if outcome is not None else None,
    }
