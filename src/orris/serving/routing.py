"""Which record answers a path, and which predict routes exist for what is loaded."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

from orris.errors import NotOfferedError, OrrisError
from orris.serving.catalog import Catalog, Slot
from orris.serving.exchange import Dialect, Headers, ProblemDocument, Reply
from orris.serving.predict_route import PredictRoute
from orris.serving.protocol import Absent, Call, Credential, Get, Post, Predict, Protocol, Route, Target
from orris.serving.request_context import RequestContext

UNMATCHED = "(unmatched)"
"""The label of a path that no record has."""

Probe = Callable[[Headers, str], Reply | None]
"""``(request headers, request id)`` -> the reply, or ``None`` to leave the request to the pages."""

Action = Callable[[bytes, Headers, str], Awaitable[Reply]]
"""``(body, headers, request id)`` -> the reply to a POST that asks no model."""

Refuse = Callable[[OrrisError, str, ProblemDocument | None], Reply]
"""``(error, request id, writer of the path's errors)`` -> the refusal; without a writer, a problem document."""

_PARAMETER = re.compile(r"\{(\w+)\}")


class Found(NamedTuple):
    """The record of a path, and what the path says for the template's parameters."""

    route: Route
    parameters: dict[str, str]


class RouteTable:
    """The records of all protocols, by path. Where two records have a path, the one that was added first counts."""

    def __init__(self, *protocols: Protocol) -> None:
        self._routes: list[Route] = []
        self._exact: dict[str, Route] = {}
        self._patterns: dict[str, tuple[re.Pattern[str] | None, Route]] = {}
        self._writers: dict[str, ProblemDocument] = {}
        self._predict_writers: dict[str, ProblemDocument] = {}
        self.add(*protocols)

    def add(self, *protocols: Protocol) -> None:
        """Add protocols behind those that are there."""
        for protocol in protocols:
            if protocol.errors is not None:
                self._writers.setdefault(protocol.prefix, protocol.errors)
            for route in protocol.routes:
                if route.template in self._exact or route.template in self._patterns:
                    continue
                self._routes.append(route)
                if isinstance(route, Predict) and protocol.errors is not None:
                    self._predict_writers[route.template] = protocol.errors
                if "{" in route.template:
                    self._patterns[route.template] = None, route
                else:
                    self._exact[route.template] = route

    def __iter__(self) -> Iterator[Route]:
        """All routes that count, in the order of their protocols."""
        return iter(self._routes)

    def find(self, path: str) -> Found | None:
        """The record of a path; ``None``: no record has it."""
        route = self._exact.get(path)
        if route is not None:
            return Found(route, {})
        for template, (compiled, candidate) in self._patterns.items():
            pattern = compiled or self._compiled(template, candidate)
            match = pattern.fullmatch(path)
            if match is not None:
                return Found(candidate, match.groupdict())
        return None

    def template(self, path: str) -> str:
        """The label of a path in metrics and logs: bounded, whatever paths are asked for."""
        found = self.find(path)
        return found.route.template if found is not None else UNMATCHED

    def credential(self, path: str) -> Credential:
        """The credential that a request of a path needs; by default one is needed."""
        found = self.find(path)
        return found.route.credential if found is not None else Credential.CALLER

    def untraced(self, path: str) -> bool:
        """Whether requests of a path are not recorded in traces."""
        found = self.find(path)
        return found is not None and not found.route.traced

    def error_of(self, path: str) -> ProblemDocument | None:
        """The writer of a path's errors, if its protocol has one of its own.

        A predict route has that of its protocol, wherever it lies; of other paths, the longest prefix counts.
        """
        record = self.find(path)
        if record is not None and record.route.template in self._predict_writers:
            return self._predict_writers[record.route.template]
        found = [prefix for prefix in self._writers if path.startswith(prefix)]
        return self._writers[max(found, key=len)] if found else None

    def _compiled(self, template: str, route: Route) -> re.Pattern[str]:
        """A template as a pattern; made when a path is first compared with it."""
        parts = _PARAMETER.split(template)
        parts[::2] = map(re.escape, parts[::2])
        parts[1::2] = [f"(?P<{name}>{_allowed(route, name)})" for name in parts[1::2]]
        pattern = re.compile("".join(parts))
        self._patterns[template] = pattern, route
        return pattern


def _allowed(route: Route, parameter: str) -> str:
    if parameter in {"model", "version"} or not isinstance(route, Get) or not route.values:
        return "[^/:]+"
    return "|".join(map(re.escape, sorted(route.values)))


class Router:
    """All routes of a process.

    Args:
        table: The records.
        context: What all predict routes share.
        catalog: What is loaded.
        refuse: Writes the answer to an error.
        require_admin: Raises unless a request carries an administrator's credential.

    Attributes:
        predict_routes: The predict routes of what is loaded, by raw path; shared with the connections, and changed in
            place.
        calls: The predict routes of calls over gRPC, by ``NAME`` or ``NAME@VERSION``.
    """

    def __init__(
        self,
        table: RouteTable,
        context: RequestContext,
        catalog: Catalog,
        *,
        refuse: Refuse,
        require_admin: Callable[[Headers], None],
    ) -> None:
        self.table = table
        self.context = context
        self.predict_routes: dict[bytes, PredictRoute] = {}
        self.calls: dict[str, PredictRoute] = {}
        self._catalog = catalog
        self._refuse = refuse
        self._require_admin = require_admin
        self._owned: dict[str, tuple[set[bytes], set[str]]] = {}

    def connect(self, slot: Slot, *, default: bool) -> None:
        """Attach a model's predict routes, or renew them after its versions have changed.

        Routes that name no model are the default's.
        """
        routes: dict[bytes, PredictRoute] = {}
        calls: dict[str, PredictRoute] = {}
        for route in self.table:
            if isinstance(route, Predict):
                for path, version in _paths(route.template, slot, default=default):
                    bound = self._predict_route(slot, route.dialect(), route.template, version)
                    routes.setdefault(path.encode(), bound)
            elif isinstance(route, Call) and route.dialect is not None:
                calls[slot.name] = self._predict_route(slot, route.dialect(), route.method)
                for live in slot.loaded():
                    call = self._predict_route(slot, route.dialect(), route.method, live.version)
                    calls[f"{slot.name}@{live.version}"] = call
        old_routes, old_calls = self._owned.get(slot.name, (set(), set()))
        self.predict_routes.update(routes)
        self.calls.update(calls)
        for old_route in old_routes - routes.keys():
            del self.predict_routes[old_route]
        for old_call in old_calls - calls.keys():
            del self.calls[old_call]
        self._owned[slot.name] = set(routes), set(calls)

    def _predict_route(self, slot: Slot, dialect: Dialect, label: str, version: str = "") -> PredictRoute:
        if version:
            return PredictRoute(
                dialect, label, lambda _: slot.version(version), self.context, lambda: slot.find(version)
            )
        return PredictRoute(dialect, label, slot.pick, self.context, slot.same)

    def template(self, path: str) -> str:
        """The label of a path in metrics and logs."""
        return self.table.template(path)

    def error_of(self, path: str) -> ProblemDocument | None:
        """The writer of a path's errors, if its protocol has one of its own."""
        return self.table.error_of(path)

    def probe(self, path: str) -> Probe | None:
        """The function that answers a GET of a path at once."""
        found = self.table.find(path)
        if found is None or not isinstance(found.route, Get):
            return None
        return partial(self._read, found.route, self._target(found), path)

    def action(self, path: str) -> Action | None:
        """The function that answers a POST of a path that runs no model."""
        found = self.table.find(path)
        if found is None or not isinstance(found.route, Post):
            return None
        return partial(self._act, found.route, self._target(found), path)

    def absent(self, path: str, request_id: str) -> Reply | None:
        """The answer to a path whose operation is not offered; ``None`` for any other path."""
        found = self.table.find(path)
        if found is None or not isinstance(found.route, Absent):
            return None
        return self._refuse(NotOfferedError(found.route.reason), request_id, self.error_of(path))

    def _read(self, route: Get, target: Target, path: str, headers: Headers, request_id: str) -> Reply | None:
        try:
            return route.answer(target, headers, request_id)
        except OrrisError as error:
            return self._refuse(error, request_id, self.error_of(path))

    async def _act(
        self, route: Post, target: Target, path: str, body: bytes, headers: Headers, request_id: str
    ) -> Reply:
        try:
            if route.credential is Credential.ADMIN:
                self._require_admin(headers)
            return await route.answer(target, body, headers, request_id)
        except OrrisError as error:
            return self._refuse(error, request_id, self.error_of(path))

    def _target(self, found: Found) -> Target:
        given = dict(found.parameters)
        model, version = given.pop("model", ""), given.pop("version", "")
        return Target(self._catalog, model, version, next(iter(given.values()), ""))


def _paths(template: str, slot: Slot, *, default: bool) -> Iterator[tuple[str, str]]:
    """The paths of a predict route for a model, each with the version that it names, if it names one."""
    if "{model}" not in template:
        if default:
            yield template, ""
        return
    path = template.replace("{model}", slot.name)
    if "{version}" not in template:
        yield path, ""
        return
    for live in slot.loaded():
        yield path.replace("{version}", live.version), live.version
