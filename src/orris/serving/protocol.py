"""The record of a protocol: its routes, and all that the server has to know of each.

A protocol is described in one place, by a ``Protocol``. Everything else is derived from these records: which path is
answered by what, which routes need no credential, which are not traced, the labels of metrics and logs, who writes the
errors of a path, and the OpenAPI document. A route that says nothing of its credential needs one, and so does a path
that no record has.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from orris.schema import Schema
from orris.serving.catalog import Catalog, Live, Slot
from orris.serving.exchange import Dialect, Headers, ProblemDocument, Reply

JsonObject = dict[str, Any]

Describe = Callable[[Schema], JsonObject]
"""``(schema of the default model)`` -> the operation of a route in OpenAPI, without its security."""


class Credential(Enum):
    """The credential that a request of a route needs."""

    NONE = "none"
    """Nothing: a probe, which tells no more than whether the server is well, or a page without data."""
    CALLER = "caller"
    """A caller's credential, where predictions need one."""
    ADMIN = "admin"
    """An administrator's credential, always."""
    METRICS = "metrics"
    """A credential if ``ORRIS_METRICS_AUTH`` says so."""
    OPENAPI = "openapi"
    """A caller's credential, unless ``ORRIS_OPENAPI_AUTH`` says otherwise: the document tells the model's columns."""


class Target(NamedTuple):
    """The model and version that the path of a request names.

    Attributes:
        catalog: What is loaded.
        model: The model's name; empty: the path names none, and the default model is meant.
        version: The version; empty: the path names none.
        name: The value of the template's other parameter, if it has one: a plot, a file.
    """

    catalog: Catalog
    model: str = ""
    version: str = ""
    name: str = ""

    @property
    def slot(self) -> Slot:
        """The model; raises ``NotFoundError``."""
        return self.catalog.slot(self.model) if self.model else self.catalog.default

    def live(self) -> Live:
        """The version that is named, or the one that answers; raises ``NotFoundError`` or ``NotReadyError``."""
        return self.slot.version(self.version) if self.version else self.slot.current()


@dataclass(frozen=True)
class Route:
    """A route, and what every kind of route says of itself.

    Attributes:
        template: The path, with ``{model}``, ``{version}`` or another parameter for one segment, or a part of one: the
            label of metrics and logs.
        credential: What its requests need.
        traced: Whether its requests are recorded in traces; probes and scrapes are not.
        operation: Its operation in OpenAPI; ``None``: it is not documented there.
    """

    template: str
    credential: Credential = Credential.CALLER
    traced: bool = True
    operation: Describe | None = None


@dataclass(frozen=True, kw_only=True)
class Predict(Route):
    """A POST that asks a model.

    It exists for every model that is loaded, with ``{version}`` for every version; without ``{model}`` for the default
    model.

    Attributes:
        dialect: Makes what reads its bodies and writes its answers.
    """

    dialect: Callable[[], Dialect]


@dataclass(frozen=True, kw_only=True)
class Get(Route):
    """A GET that is answered at once.

    Attributes:
        answer: Answers it; may raise ``OrrisError``; ``None`` leaves the request to the pages.
        values: The values that the parameter beside ``{model}`` and ``{version}`` may have.
    """

    answer: Callable[[Target, Headers, str], Reply | None]
    values: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Post(Route):
    """A POST that asks no model: a reload, a listing.

    Attributes:
        answer: Answers it: ``(target, body, headers, request id)``; may raise ``OrrisError``.
    """

    answer: Callable[[Target, bytes, Headers, str], Awaitable[Reply]]


@dataclass(frozen=True, kw_only=True)
class Absent(Route):
    """An operation of the protocol that is not offered: 501, whatever the method.

    Attributes:
        reason: Why, and what there is instead: the text of the answer.
    """

    reason: str


@dataclass(frozen=True, kw_only=True)
class Page(Route):
    """A GET that the FastAPI application answers."""


@dataclass(frozen=True, kw_only=True)
class Call(Route):
    """A call over gRPC; its template is ``/SERVICE/METHOD``.

    Attributes:
        dialect: Makes what reads its messages and writes its answers; ``None``: the call asks no model.
    """

    dialect: Callable[[], Dialect] | None = None

    @property
    def method(self) -> str:
        """The method's name: the label of metrics and logs."""
        return self.template.rpartition("/")[2]


@dataclass(frozen=True)
class Protocol:
    """A protocol, or a group of the server's own pages.

    Attributes:
        name: Its name.
        routes: Its routes.
        prefix: The beginning of the paths whose errors it writes.
        errors: Writes the errors of these paths; ``None``: they are problem documents.
    """

    name: str
    routes: tuple[Route, ...]
    prefix: str = ""
    errors: ProblemDocument | None = None
