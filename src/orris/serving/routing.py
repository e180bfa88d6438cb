"""Where protocols are attached to models: the predict routes and probes that a model brings with it, by path."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from orris.serving.catalog import Slot
from orris.serving.exchange import Dialect, Headers, ProblemDocument, Reply
from orris.serving.http.probes import Probe
from orris.serving.predict_route import PredictRoute
from orris.serving.request_context import RequestContext


@dataclass(frozen=True)
class ModelRoute:
    """A predict route of a model.

    Attributes:
        path: The path, with the model's name and version in it.
        route: Its template: the label of metrics and logs.
        dialect: Reads bodies and writes answers.
        version: The version that answers; ``None``: whichever is live.
    """

    path: str
    route: str
    dialect: Dialect
    version: str | None = None


@dataclass(frozen=True)
class Mount:
    """The routes of one protocol for one model.

    Attributes:
        predict: POST routes that ask the model.
        probes: GET routes that are answered at once, by path.
        calls: Calls over gRPC that ask the model; the path is ``NAME`` or ``NAME@VERSION``.
    """

    predict: tuple[ModelRoute, ...] = ()
    probes: dict[str, Probe] = field(default_factory=dict)
    calls: tuple[ModelRoute, ...] = ()


Protocol = Callable[[Slot, bool], Mount]
"""``(slot, whether it is the default model)`` -> the protocol's routes for it.

Called again when the slot's versions change.
"""


Action = Callable[[re.Match[str], bytes, Headers, str], Awaitable[Reply]]
"""``(the matched path, body, headers, request id)`` -> the reply to a POST that does not ask a model.

A reload, a listing.
"""


_MODEL = re.compile(r"^(/v1|/v2|/api/v1)/models/[^/:]+")
_VERSION = re.compile(r"/versions/[^/:]+")
_PLOT = re.compile(r"/plots/[^/]+$")


@dataclass(frozen=True)
class ActionRoute:
    """A POST route that does not ask a model.

    Attributes:
        path: Matches the whole path.
        route: Its template.
        action: Answers it; may raise ``OrrisError``.
        summary: What it does, for the OpenAPI document.
        admin: Whether it is the administrator's.
    """

    path: re.Pattern[str]
    route: str
    action: Action
    summary: str = ""
    admin: bool = True


class Router:
    """All routes of a process. The tables are shared with connections and the application, and change in place.

    Args:
        protocols: What is spoken.
        context: What all predict routes share.
        errors: Writers of errors by path prefix, for protocols with an error shape of their own; the longest prefix
            counts.
    """

    def __init__(
        self, protocols: tuple[Protocol, ...], context: RequestContext, errors: dict[str, ProblemDocument]
    ) -> None:
        self.predict_routes: dict[bytes, PredictRoute] = {}
        self.probes: dict[str, Probe] = {}
        self.calls: dict[str, PredictRoute] = {}
        self.actions: list[ActionRoute] = []
        self.errors = errors
        self.context = context
        self._protocols = protocols
        self._owned: dict[str, tuple[list[bytes], list[str], list[str]]] = {}

    def connect(self, slot: Slot, *, default: bool) -> None:
        """Attach a model's routes, or renew them after its versions have changed.

        Routes that name no model are the default's.
        """
        mounts = [protocol(slot, default) for protocol in self._protocols]
        predict_routes = {
            route.path.encode(): self._predict_route(slot, route) for mount in mounts for route in mount.predict
        }
        probes = {path: probe for mount in mounts for path, probe in mount.probes.items()}
        calls = {route.path: self._predict_route(slot, route) for mount in mounts for route in mount.calls}
        old_predict_routes, old_probes, old_calls = self._owned.get(slot.name, ([], [], []))
        self.predict_routes.update(predict_routes)
        self.probes.update(probes)
        self.calls.update(calls)
        for path in set(old_predict_routes) - set(predict_routes):
            del self.predict_routes[path]
        for name in set(old_probes) - set(probes):
            del self.probes[name]
        for name in set(old_calls) - set(calls):
            del self.calls[name]
        self._owned[slot.name] = (list(predict_routes), list(probes), list(calls))

    def _predict_route(self, slot: Slot, route: ModelRoute) -> PredictRoute:
        version = route.version
        if version is not None:
            return PredictRoute(route.dialect, route.route, lambda _: slot.version(version), self.context)
        return PredictRoute(route.dialect, route.route, slot.pick, self.context)

    def template(self, path: str) -> str:
        """The route template of a probe's path: names and versions come and go, and are no label values."""
        named = _VERSION.sub(r"/versions/{version}", _MODEL.sub(r"\1/models/{model}", path))
        return "/ui/{file}" if path.startswith("/ui/") else _PLOT.sub("/plots/{plot}", named)

    def action(self, path: str) -> tuple[ActionRoute, re.Match[str]] | None:
        """The action of a path, if there is one."""
        for route in self.actions:
            found = route.path.fullmatch(path)
            if found is not None:
                return route, found
        return None

    def error_of(self, path: str) -> ProblemDocument | None:
        """The error writer for a path, if a protocol has one."""
        found = [prefix for prefix in self.errors if path.startswith(prefix)]
        return self.errors[max(found, key=len)] if found else None
