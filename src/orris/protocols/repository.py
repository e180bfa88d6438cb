"""What is served, listed and changed: Orris' own reload and rollback, and V2's model repository extension.

Every change needs the admin credential, and is refused where none is configured.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from orris.errors import BodyError, OrrisError
from orris.protocols.openinference import refusal
from orris.protocols.status import problem, status_of
from orris.serving.catalog import Catalog, Slot
from orris.serving.control import Changed, Control
from orris.serving.exchange import Headers, Reply
from orris.serving.routing import ActionRoute


class _Wish(msgspec.Struct):
    """The body of a reload or rollback; all of it may be left out."""

    name: str = ""
    version: str = ""


class _Index(msgspec.Struct):
    ready: bool = False


class Repository:
    """The routes.

    Args:
        catalog: What is loaded.
        control: Changes it.
        require_admin: Raises unless the request carries the admin credential.
    """

    def __init__(self, catalog: Catalog, control: Control, require_admin: Callable[[Headers], None]) -> None:
        self._catalog = catalog
        self._control = control
        self._require_admin = require_admin

    def actions(self) -> list[ActionRoute]:
        """All POST routes."""
        own, v2 = "/api/v1/model", "/v2/repository"
        reload, roll_back = self._named(self._reload, "reloaded"), self._named(self._roll_back, "rolled back")
        return [
            ActionRoute(
                re.compile(rf"{own}/reload"),
                f"{own}/reload",
                reload,
                "Follow a model's reference anew, or swap to a version",
            ),
            ActionRoute(
                re.compile(rf"{own}/rollback"), f"{own}/rollback", roll_back, "Swap back to the version before"
            ),
            ActionRoute(
                re.compile(rf"{v2}/index"),
                f"{v2}/index",
                self._index,
                "What is loaded (V2 model repository)",
                admin=False,
            ),
            ActionRoute(
                re.compile(rf"{v2}/models/([^/]+)/load"),
                f"{v2}/models/{{model}}/load",
                self._load,
                "Load a model, or renew it",
            ),
            ActionRoute(
                re.compile(rf"{v2}/models/([^/]+)/unload"),
                f"{v2}/models/{{model}}/unload",
                self._unload,
                "Unload a model",
            ),
        ]

    def index(self, *, only_ready: bool = False) -> list[dict[str, str]]:
        """V2's index: every version that is loaded, and models that are not."""
        return [
            entry
            for slot in self._catalog
            for entry in _entries(slot, self._control.errors)
            if entry["state"] == "READY" or not only_ready
        ]

    def _named(self, change: Callable[[_Wish], Any], done: str) -> Any:
        async def action(_match: re.Match[str], body: bytes, headers: Headers, request_id: str) -> Reply:
            try:
                self._require_admin(headers)
                changed: Changed = await change(_decode(body, _Wish))
            except OrrisError as error:
                return _refusal(error, request_id)
            told: dict[str, Any] = {"status": done if changed.changed else "unchanged", "model": changed.model}
            told |= {"model_version": changed.version, "previous_version": changed.previous, "workers": changed.workers}
            told["request_id"] = request_id
            return Reply(200, msgspec.json.encode(told))

        return action

    async def _reload(self, wish: _Wish) -> Changed:
        return await self._control.reload(wish.name, wish.version)

    async def _roll_back(self, wish: _Wish) -> Changed:
        return await self._control.roll_back(wish.name)

    async def _index(self, _match: re.Match[str], body: bytes, _headers: Headers, request_id: str) -> Reply:
        try:
            return Reply(200, msgspec.json.encode(self.index(only_ready=_decode(body, _Index).ready)))
        except OrrisError as error:
            return refusal(error, request_id)

    async def _load(self, match: re.Match[str], body: bytes, headers: Headers, request_id: str) -> Reply:
        return await self._changed(headers, body, request_id, lambda: self._control.load(match.group(1)))

    async def _unload(self, match: re.Match[str], body: bytes, headers: Headers, request_id: str) -> Reply:
        return await self._changed(headers, body, request_id, lambda: self._control.unload(match.group(1)))

    async def _changed(self, headers: Headers, body: bytes, request_id: str, change: Callable[[], Any]) -> Reply:
        try:
            self._require_admin(headers)
            _decode(body, dict[str, Any])
            await change()
        except OrrisError as error:
            # As in ``_refusal``: the admin is told why a version does not load.
            return (
                refusal(error, request_id)
                if status_of(error) != 500
                else Reply(409, msgspec.json.encode({"error": str(error)}))
            )
        return Reply(200, b"")


def _refusal(error: OrrisError, request_id: str) -> Reply:
    """A refused change is explained to the administrator in full.

    The cause is a store, a bundle or a model, not a secret.
    """
    if status_of(error) != 500:
        return problem(error, request_id)
    told = {
        "type": "about:blank",
        "title": "The old version stays",
        "status": 409,
        "detail": str(error),
        "request_id": request_id,
    }
    return Reply(409, msgspec.json.encode(told), b"application/problem+json")


def _decode(body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise BodyError(f"the body is not understood: {error}") from None


def _entries(slot: Slot, errors: dict[str, str]) -> list[dict[str, str]]:
    loaded = [{"name": slot.name, "version": live.version, "state": "READY", "reason": ""} for live in slot.loaded()]
    return loaded or [
        {"name": slot.name, "version": "", "state": "UNAVAILABLE", "reason": errors.get(slot.name, "unloaded")}
    ]
