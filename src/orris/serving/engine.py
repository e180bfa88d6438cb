"""One loaded model: arrays in, arrays out.

Loading is inspect, audit, construct, and then the golden rows must come out as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from threading import get_ident
from time import monotonic
from typing import Literal

import msgspec
import numpy as np

from orris.bundle import DOUBLE, SINGLE, Golden, Manifest, audit, contract, read_manifest, read_profile
from orris.errors import NotReadyError, ServingError
from orris.runtime import Answers, Runtime, open_model
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.schema.profile import Profile
from orris.schema.rows import MAX_ROWS, RowReader
from orris.schema.warnings import Watch
from orris.serving import unanswered
from orris.serving.calls import RUNNING

GOLDEN_TOLERANCE = 1e-9
"""Golden answers were computed on another machine, whose vector width may round the last bits of a sum differently."""

SINGLE_TOLERANCE = 1e-6
"""The same for answers that the fitted model's library computes in float32, and the served model in float64."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A model that has proven, in this process, that it answers as the fitted pipeline did.

    Attributes:
        manifest: What the bundle says of it.
        runtime: What answers.
        reader: Reads JSON rows.
        watch: Finds unusual values.
        text_labels: Labels as text, by position.
        class_numbers: What ``prediction`` is, by position: an integer label itself, otherwise the position.
        folder: The bundle that it was loaded from.
        profile: What drift is measured against, if the bundle says it.
    """

    manifest: Manifest
    runtime: Runtime
    reader: RowReader
    watch: Watch
    text_labels: tuple[str, ...]
    class_numbers: tuple[int, ...]
    folder: Path | None = None
    profile: Profile | None = None

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1, max_rows: int = MAX_ROWS) -> Engine:
        """Load a bundle's model.

        Args:
            folder: The bundle.
            threads: Threads for one call of the model.
            max_rows: Most rows that one request may hold.

        Raises:
            BundleError: Not a bundle, of a newer format, or changed.
            ServingError: The model does not load, or does not reproduce the golden rows.
        """
        manifest = read_manifest(folder)
        audit(folder, manifest)
        runtime = open_model(
            folder, manifest.model_file, manifest.schema, front_file=manifest.front_file, threads=threads
        )
        reproduce(runtime, manifest.golden, f"{manifest.name}@{manifest.version}", golden_tolerance(manifest))
        schema = contract(manifest)
        manifest = msgspec.structs.replace(manifest, schema=schema)
        return cls(
            manifest,
            runtime,
            RowReader(schema, max_rows),
            Watch(schema),
            tuple(label_text(label) for label in schema.labels),
            tuple(label if type(label) is int else i for i, label in enumerate(schema.labels)),
            folder,
            read_profile(folder, manifest),
        )

    def further(self, precision: Literal["float32", "float64"]) -> Engine:
        """The model of tables of another precision, which reproduces its golden rows as well.

        It is opened for Python alone: a server meets no such table, and would load a second model for nothing.

        Raises:
            ServingError: It does not load, or does not reproduce its golden rows.
        """
        manifest, folder = self.manifest, self.folder
        if folder is None:
            raise ServingError("this model was not loaded from a bundle, so there is no further model")
        file, kind, schema = (
            (SINGLE, manifest.float32, self.schema.in_float32())
            if precision == "float32"
            else (DOUBLE, manifest.float64, self.schema.in_float64())
        )
        model_file, front_file = (file, "") if kind == "file" else (manifest.model_file, manifest.front_file)
        runtime = open_model(folder, model_file, schema, front_file=front_file)
        golden = manifest.further.get(file)
        if golden is not None:
            name = f"{manifest.name}@{manifest.version} ({file})"
            reproduce(runtime, golden, name, golden_tolerance(manifest))
        return replace(self, runtime=runtime)

    def verify_further(self) -> None:
        """Raise ``ServingError`` unless every further model reproduces its golden rows."""
        for file in self.manifest.further:
            self.further("float32" if file == SINGLE else "float64")

    @property
    def schema(self) -> Schema:
        """The model's contract."""
        return self.manifest.schema

    @property
    def has_probabilities(self) -> bool:
        """Whether the model answers with probabilities: it is a classifier with ``predict_proba``."""
        return self.runtime.has_probabilities

    @property
    def has_scores(self) -> bool:
        """Whether the model answers with a score beside the label: it detects outliers, or is a clusterer with one."""
        return bool(self.manifest.golden.scores)

    def run(self, rows: FloatArray) -> Answers:
        """Answer encoded rows, float64 ``(n_rows, n_columns)``, with finite numbers.

        Raises:
            RowError: The model has no finite answer to a row; names the column that this is due to, where one alone is.
            ServingError: The model fails.
        """
        thread = get_ident()
        RUNNING[thread] = monotonic()
        try:
            answers = self.runtime.run(rows)
        except ValueError as error:  # what scikit-learn's estimators refuse rows with
            raise unanswered.refused(self.runtime, rows) from error
        finally:
            RUNNING.pop(thread, None)
        numbers = answers.probabilities if answers.values is None else answers.values
        if numbers is not None and not np.logical_and.reduce(np.isfinite(numbers), axis=None):
            raise unanswered.not_finite(self.runtime, self.schema, rows, numbers)
        if answers.scores is not None and not np.isfinite(answers.scores).all():
            raise unanswered.not_finite(self.runtime, self.schema, rows, answers.scores)
        if numbers is None and answers.labels is not None and answers.labels.min(initial=0) < 0:
            raise unanswered.unlabelled(answers.labels)
        return answers


def golden_tolerance(manifest: Manifest) -> float:
    """How far golden answers may be off on another machine, relative to ``max(1, |answer|)``."""
    return SINGLE_TOLERANCE if manifest.verdict.family == "single" else GOLDEN_TOLERANCE


def label_text(label: object) -> str:
    """A class label as text: ``true``/``false`` for booleans, as JSON writes them."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def reproduce(runtime: Runtime, golden: Golden, name: str, tolerance: float = GOLDEN_TOLERANCE) -> None:
    """Raise ``NotReadyError`` unless the runtime gives the golden rows' answers."""
    found = runtime.run(golden.array())
    if golden.labels and (found.labels is None or found.labels.tolist() != list(golden.labels)):
        raise NotReadyError(
            f"{name}: its golden rows come out with other labels on this machine; do not serve it, publish it again"
        )
    for expected, served in (
        (golden.probabilities, found.probabilities),
        (golden.values, found.values),
        (golden.scores, found.scores),
    ):
        if not expected:
            continue
        reference = np.array(expected, dtype=np.float64)
        allowed = tolerance * np.maximum(1.0, np.abs(reference))
        if served is None or not (np.abs(served - reference) <= allowed).all():
            raise NotReadyError(
                f"{name}: its golden rows come out different on this machine; do not serve it, publish it again"
            )
