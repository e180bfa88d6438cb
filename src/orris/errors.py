"""Every error Orris raises on purpose, in one tree, named by the stage of the flow that failed.

::

    table ──> schema ──> training ──> compile ──> bundle ──> store ──> serving
      │         │           │            │           │         │          │
    TableError  │      TrainingError CompileError BundleError StoreError ServingError
           SchemaError   GateError   ParityError  …           …          …
           RowError, BodyError (a request that does not fit the schema)

This module knows nothing of HTTP or gRPC: ``protocols/status.py`` alone turns an error into an answer.
A message says what was wrong, where (file, row, column, key), and what to do about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class OrrisError(Exception):
    """Base of every error that Orris raises on purpose; its text is meant for the user."""


class SettingsError(OrrisError):
    """A flag, an ``ORRIS_*`` variable or a key of ``params.yaml`` is unknown or malformed."""


class MissingExtraError(OrrisError):
    """A library of an optional extra is needed and not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        from orris.installation import install_extra  # noqa: PLC0415 (a failure only)

        super().__init__(f"{purpose} needs the extra '{extra}': install it with  {install_extra(extra)}")
        self.extra = extra


class TableError(OrrisError):
    """A table could not be read; names the file and, where there is one, the row and the column."""


class SchemaError(OrrisError):
    """A table or a schema document does not describe columns that Orris can serve; names the column."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the zero-based row, the column (``None``: the whole row), and what to change."""

    row: int | None
    column: str | None
    problem: str


class RowError(OrrisError):
    """Rows that parse, but do not fit the schema (HTTP 422)."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        where = "" if first.row is None else f"row {first.row}"
        where += "" if first.column is None else f"{', ' if where else ''}column '{first.column}'"
        super().__init__(f"{where}: {first.problem}" if where else first.problem)


class BodyError(OrrisError):
    """A request body that is no JSON document at all (HTTP 400)."""


class MediaTypeError(OrrisError):
    """A request body of a content type or charset that this route does not read (HTTP 415)."""


class TrainingError(OrrisError):
    """Training could not be carried out: an unusable target, an unknown preset, a factory that failed."""


class GateError(TrainingError):
    """The model was trained, and a ``--gate`` refused it: nothing is published."""


class CompileError(OrrisError):
    """A pipeline could not be turned into a served model."""


class NotConvertibleError(CompileError):
    """No exact converter covers this estimator or this setting of it; the next strategy is tried.

    Args:
        reason: What cannot be converted, and why.
        remedy: What to do about it, where there is more to say than to use another step.
        steps: Where it is: names of steps, the outermost first.
    """

    def __init__(self, reason: str, *, remedy: str = "", steps: tuple[str, ...] = ()) -> None:
        where = f" (step {' > '.join(map(repr, steps))})" if steps else ""
        super().__init__(f"{reason}{where}")
        self.reason = reason
        self.remedy = remedy
        self.steps = steps

    def inside(self, step: str) -> NotConvertibleError:
        """The same error, with the name of the step that holds the place where it was raised."""
        return type(self)(self.reason, remedy=self.remedy, steps=(step, *self.steps))


class NotProvedError(CompileError):
    """The proof does not follow the compiled model, or finds it to differ; says where. Its answers are compared."""


class ParityError(CompileError):
    """The compiled model does not answer as the fitted pipeline does."""


class BundleError(OrrisError):
    """A bundle is incomplete, unreadable or malformed; names the file."""


class BundleFormatError(BundleError):
    """The bundle was written in a newer format than this Orris reads."""


class IntegrityError(BundleError):
    """A file of the bundle is not what the manifest says; names the file."""


class SignatureError(BundleError):
    """The bundle's signature is missing, or does not verify with the configured key."""


class StoreError(OrrisError):
    """The store could not be read or written, or refused the change."""


class MalformedReferenceError(StoreError):
    """A name, a version, an alias or a reference is not written as one (HTTP 400)."""


class NotFoundError(StoreError):
    """No such model, version or alias in the store; says what there is."""


class VersionExistsError(StoreError):
    """The version is published already; versions are immutable."""


class PromotionError(OrrisError):
    """A version could not be promoted to an environment; names the file and the key, or says what git refused."""


class ExperimentError(OrrisError):
    """An autoscaling experiment could not be carried out: says which program, measurement or object is missing."""


class LoadTestError(OrrisError):
    """A load test could not be run, or its results not be read; says what the server answered."""


class CapacityError(OrrisError):
    """A capacity could not be measured, or no plan follows from it; says what was measured."""


class ServingError(OrrisError):
    """A loaded model could not answer."""


class ExhaustedError(ServingError):
    """Memory ran out while a model answered: says nothing about whether its answers are right."""


class NotReadyError(ServingError):
    """The model is not ready: the golden rows have not been reproduced, or the server is draining."""


class ConflictError(ServingError):
    """A change of what is served was refused, and the old version stays (HTTP 409)."""


class OverloadedError(ServingError):
    """More is asked than can be answered in time (HTTP 503); trying again later helps."""


class NotOfferedError(ServingError):
    """An operation of a protocol that is not offered here (HTTP 501); the message says why."""


class RequestTimeoutError(ServingError):
    """A request did not arrive within the time that it may take (HTTP 408)."""


class TooLargeError(ServingError):
    """A request is over a size limit (HTTP 413)."""


class UnauthorizedError(ServingError):
    """A request without a valid credential (HTTP 401).

    The answer is the same whatever is wrong, so that guesses reveal nothing.

    Attributes:
        reason: What is wrong, in fixed words, for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("a valid API key or token is needed, as  x-api-key: …  or  Authorization: Bearer …")
        self.reason = reason


class ForbiddenError(ServingError):
    """The caller is known, and may not do this (HTTP 403)."""


class RateLimitError(ServingError):
    """The caller has used up its rate (HTTP 429).

    Attributes:
        retry_after_seconds: When the next request will be taken, rounded up to whole seconds; at least 1.
    """

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(f"this caller has used up its rate; try again in {retry_after_seconds} s")
        self.retry_after_seconds = retry_after_seconds
