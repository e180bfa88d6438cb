"""A fitted and evaluated pipeline -> a sealed bundle folder: compiled, proven, compared on raw rows, reported."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from orris.bundle import DOUBLE, SINGLE, Golden, Manifest, Provenance, seal, write_profile
from orris.compile import Compiled, compile_pipeline, examine_precisions
from orris.runtime import Answers
from orris.schema import Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.columns import UNSEEN
from orris.training import gates as gates_of
from orris.training.evaluation import Evaluation
from orris.training.profiling import learn_profile
from orris.training.report import document as report
from orris.training.report import plots
from orris.training.split_gain import library_importance
from orris.version import __version__

Progress = Callable[[str], None]

MAX_EXAMPLES = 12
"""Training rows that a bundle holds as examples."""

_LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "skl2onnx", "skops")


@dataclass(frozen=True)
class Trained:
    """A sealed bundle folder, and its facts for a person.

    Attributes:
        folder: The bundle.
        manifest: Its manifest.
        evaluation: Metrics, report text and what the plots show.
    """

    folder: Path
    manifest: Manifest
    evaluation: Evaluation


def default_version() -> str:
    """``1.0.<UTC timestamp>``: SemVer, and a valid container tag."""
    return f"1.0.{datetime.now(UTC):%Y%m%d%H%M%S}"


@dataclass(frozen=True)
class Given:
    """The caller's input, unchanged: the raw rows on which a built model is compared with the pipeline.

    Attributes:
        pipeline: The fitted pipeline.
        rows: The caller's own object.
        file: The file that it was read from, if it was.
        reference: The rows that the pipeline answers in place of ``rows``: those on which it was fitted.
    """

    pipeline: Any
    rows: Any
    file: Path | None = None
    reference: Any = None


Check = Callable[[Path, Given], dict[str, int]]
"""``(bundle folder, what was given) -> rows compared, by route``; raises ``ParityError`` if an answer differs."""


@dataclass(frozen=True)
class Job:
    """A fitted pipeline on its way into a bundle."""

    pipeline: Any
    schema: Schema
    rows: FloatArray
    targets: npt.NDArray[Any]
    evaluation: Evaluation
    gates: tuple[gates_of.GateResult, ...]
    table: str
    parameters: Mapping[str, Any]
    given: Given


def write_bundle(
    job: Job,
    folder: Path,
    name: str,
    version: str,
    require_compiled: bool,
    progress: Progress,
    check: Check | None,
) -> Trained:
    """Compile, prove, compare on raw rows, draw, report, seal.

    Args:
        job: The pipeline and what is known of it.
        folder: An empty folder.
        name: The model's name.
        version: The bundle's version; by default ``default_version()``.
        require_compiled: Raise rather than serve by scikit-learn.
        progress: Called with each step.
        check: Compares the built model with the pipeline on raw rows.

    Raises:
        CompileError: No way of serving it passes the parity gate.
    """
    compiled = compile_pipeline(
        job.pipeline, job.schema, job.rows, require_compiled=require_compiled, progress=progress
    )
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in compiled.files.items():
        (folder / file).write_bytes(content)
    progress("comparing tables of float32")
    precisions = examine_precisions(job.pipeline, compiled, job.rows)
    further = {}
    for file, whole in ((SINGLE, precisions.float32), (DOUBLE, precisions.float64)):
        if whole.content:
            (folder / file).write_bytes(whole.content)
            further[file] = _rows_with_answers(whole.golden_rows, whole.golden_answers)
    created = datetime.now(UTC)
    seal_with = partial(
        seal,
        folder,
        name=name,
        version=version or default_version(),
        created=f"{created:%Y-%m-%dT%H:%M:%SZ}",
        orris=__version__,
        model_file=compiled.model_file,
        front_file=compiled.front_file,
        schema=compiled.schema,
        golden=_golden(compiled),
        examples=_examples(job.rows, job.targets, compiled),
        float32=precisions.float32.kind,
        float64=precisions.float64.kind,
        others=precisions.others,
        further=further,
        metrics=job.evaluation.metrics,
        provenance=_provenance(job),
    )
    manifest = seal_with(verdict=compiled.verdict)
    if check is not None:
        progress("comparing raw rows through every way in")
        verdict = msgspec.structs.replace(compiled.verdict, rows_by_route=check(folder, job.given))
        compiled = replace(compiled, verdict=verdict)
    progress("writing the report")
    _write_report(job, compiled, manifest, folder)
    progress("learning what drift is measured against")
    write_profile(folder, learn_profile(compiled.schema, job.rows, compiled.runtime))
    return Trained(folder, seal_with(verdict=compiled.verdict), job.evaluation)


def _write_report(job: Job, compiled: Compiled, manifest: Manifest, folder: Path) -> None:
    report.write_report(
        folder,
        name=manifest.name,
        version=manifest.version,
        schema=compiled.schema,
        evaluation=job.evaluation,
        provenance=_shown(manifest.provenance),
        verdict=compiled.verdict,
        plots=plots.draw(job.evaluation, compiled.schema, folder / "plots"),
        parameters=job.parameters,
        gates=job.gates,
        importance=library_importance(job.pipeline, compiled.schema.names),
    )


def _provenance(job: Job) -> Provenance:
    return Provenance(
        data_digest=_data_digest(job.rows, job.targets),
        n_rows=len(job.rows),
        table=job.table,
        git_commit=_git_commit(),
        python=platform.python_version(),
        libraries={library: metadata.version(library) for library in _LIBRARIES} | _boosters_used(),
        parameters=dict(job.parameters),
    )


def _boosters_used() -> dict[str, str]:
    """Versions of the boosting libraries that are imported, which is where a model of theirs was met."""
    found = {library: sys.modules.get(library) for library in ("catboost", "lightgbm", "xgboost")}
    return {library: str(module.__version__) for library, module in found.items() if module is not None}


def _examples(rows: FloatArray, targets: npt.NDArray[Any], compiled: Compiled) -> Golden:
    """Training rows for pages that show the model: complete ones first, classes in turn, spread over the target.

    Rows with categories that the model does not know are left out: their text is not in the schema.
    """
    categories = [i for i, column in enumerate(compiled.schema.columns) if column.kind is Kind.CATEGORY]
    known = np.flatnonzero((rows[:, categories] != UNSEEN).all(axis=1))
    complete = known[~np.isnan(rows[known]).any(axis=1)]
    chosen = complete if len(complete) >= MAX_EXAMPLES else known
    if not len(chosen):
        return Golden(())
    target = targets[chosen]
    if compiled.schema.task == "regression":
        groups = [np.argsort(target, kind="stable")]
    else:
        groups = [np.flatnonzero(target == label) for label in np.unique(target)]
    spread = [group[np.unique(np.linspace(0, len(group) - 1, MAX_EXAMPLES).astype(int))].tolist() for group in groups]
    in_turn = [row for turn in zip_longest(*spread) for row in turn if row is not None]
    sample = rows[chosen[in_turn[:MAX_EXAMPLES]]]
    return _rows_with_answers(sample, compiled.runtime.run(sample))


def _golden(compiled: Compiled) -> Golden:
    """The golden rows; one whose answer no JSON number holds, and which a server would refuse, is left out."""
    return _rows_with_answers(compiled.golden_rows, compiled.golden_answers)


def _rows_with_answers(rows: FloatArray, answers: Answers) -> Golden:
    """Rows that have finite answers, with them."""
    finite = np.ones(len(rows), dtype=bool)
    for numbers in (answers.probabilities, answers.values, answers.scores):
        if numbers is not None:
            finite &= np.isfinite(numbers.reshape(len(finite), -1)).all(axis=1)
    kept = rows[finite].tolist()
    return Golden(
        tuple(tuple(None if np.isnan(value) else value for value in row) for row in kept),
        labels=() if answers.labels is None else tuple(answers.labels[finite].tolist()),
        probabilities=()
        if answers.probabilities is None
        else tuple(map(tuple, answers.probabilities[finite].tolist())),
        values=() if answers.values is None else tuple(answers.values[finite].tolist()),
        scores=() if answers.scores is None else tuple(answers.scores[finite].tolist()),
    )


def _data_digest(rows: FloatArray, targets: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes())
    digest.update("\n".join(map(str, targets.tolist())).encode())
    return digest.hexdigest()


def _git_commit() -> str:
    """The commit of the working tree, with ``+dirty`` if it has changes; empty outside a repository."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603, S607
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+dirty" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _shown(provenance: Provenance) -> dict[str, str]:
    """The provenance as the report's table shows it."""
    shown = {
        "Training rows": f"{provenance.n_rows:,}",
        "Table": provenance.table or "in memory",
        "Data digest (sha256)": provenance.data_digest,
        "Git commit": provenance.git_commit or "none",
        "Python": provenance.python,
    }
    return shown | provenance.libraries
