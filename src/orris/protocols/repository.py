"""Lists and changes the served models: Orris' own reload and rollback, and V2's model repository extension.

Every change needs the admin credential, and is refused where none is configured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec

from orris.errors import BodyError, ConflictError, OrrisError
from orris.protocols.descriptions import OPEN_INFERENCE
from orris.protocols.status import status_of
from orris.serving.catalog import Catalog, Slot
from orris.serving.control import Changed, Control
from orris.serving.exchange import Headers, Reply
from orris.serving.operations import PROBLEM, acting, json_object, of
from orris.serving.protocol import Credential, Describe, JsonObject, Post, Protocol, Target


class _Wish(msgspec.Struct):
    """The body of a reload or rollback; all of it may be left out."""

    name: str = ""
    version: str = ""


class _AnyObject(msgspec.Struct):
    """An object whose members are skipped."""


class _Index(msgspec.Struct):
    ready: bool = False


class Repository:
    """The actions behind the routes and the gRPC calls.

    Args:
        catalog: What is loaded.
        control: Changes it.
    """

    def __init__(self, catalog: Catalog, control: Control) -> None:
        self._catalog = catalog
        self._control = control

    def protocol(self) -> Protocol:
        """The record of the routes."""
        own, v2 = "/api/v1/model", "/v2/repository"
        change = partial(Post, credential=Credential.ADMIN)
        return Protocol(
            "model repository",
            (
                change(
                    f"{own}/reload",
                    operation=_changing("Follow a model's reference anew, or swap to a version", version=_TEXT),
                    answer=partial(self._change, self._reload, "reloaded"),
                ),
                change(
                    f"{own}/rollback",
                    operation=_changing("Swap back to the version before"),
                    answer=partial(self._change, self._roll_back, "rolled back"),
                ),
                Post(f"{v2}/index", operation=_index_operation(), answer=self._index),
                change(
                    f"{v2}/models/{{model}}/load",
                    operation=_loading("Load a model, or renew it"),
                    answer=partial(self._apply, control_call=self._control.load),
                ),
                change(
                    f"{v2}/models/{{model}}/unload",
                    operation=_loading("Unload a model"),
                    answer=partial(self._apply, control_call=self._control.unload),
                ),
            ),
        )

    def index(self, *, only_ready: bool = False) -> list[dict[str, str]]:
        """V2's index: every version that is loaded, and models that are not."""
        return [
            entry
            for slot in self._catalog
            for entry in _entries(slot, self._control.errors)
            if entry["state"] == "READY" or not only_ready
        ]

    async def _change(
        self,
        change: Callable[[_Wish], Any],
        done: str,
        _target: Target,
        body: bytes,
        _headers: Headers,
        request_id: str,
    ) -> Reply:
        changed: Changed = await _explained(change(_decode(body, _Wish)))
        told: dict[str, Any] = {"status": done if changed.changed else "unchanged", "model": changed.model}
        told |= {"model_version": changed.version, "previous_version": changed.previous, "workers": changed.workers}
        told["request_id"] = request_id
        return Reply(200, msgspec.json.encode(told))

    async def _reload(self, wish: _Wish) -> Changed:
        return await self._control.reload(wish.name, wish.version)

    async def _roll_back(self, wish: _Wish) -> Changed:
        return await self._control.roll_back(wish.name)

    async def _index(self, _target: Target, body: bytes, _headers: Headers, _request_id: str) -> Reply:
        return Reply(200, msgspec.json.encode(self.index(only_ready=_decode(body, _Index).ready)))

    async def _apply(
        self,
        target: Target,
        body: bytes,
        _headers: Headers,
        _request_id: str,
        *,
        control_call: Callable[[str], Awaitable[Any]],
    ) -> Reply:
        _decode(body, _AnyObject)
        await _explained(control_call(target.model))
        return Reply(200, b"")


async def _explained(change: Awaitable[Any]) -> Any:
    """A change; an error of a store, a bundle or a model is explained to the administrator in full."""
    try:
        return await change
    except OrrisError as error:
        if status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise ConflictError(str(error)) from None


_TEXT: JsonObject = {"type": "string"}


def _changing(summary: str, **body: JsonObject) -> Describe:
    """The operation of a swap between versions."""
    changed = json_object(
        status={"type": "string", "enum": ["reloaded", "rolled back", "unchanged"]},
        model=_TEXT,
        model_version=_TEXT,
        previous_version=_TEXT,
        workers={"type": "integer"},
        request_id=_TEXT,
    )
    refusals = {"status_400": PROBLEM, "status_404": PROBLEM, "status_409": PROBLEM}
    return acting(summary, "administration", {"name": _TEXT, **body}, changed, **refusals)


def _loading(summary: str) -> Describe:
    """The operation of V2's load and unload."""
    error = json_object(("error",), error=_TEXT)
    refusals = {"status_400": error, "status_404": error, "status_409": error}
    return acting(summary, "administration", {}, {}, **refusals)


def _index_operation() -> Describe:
    entry = {"type": "object", "properties": dict.fromkeys(("name", "version", "state", "reason"), _TEXT)}
    return acting(
        "What is loaded (V2 model repository)",
        OPEN_INFERENCE,
        {"ready": {"type": "boolean"}},
        of("application/json", {"type": "array", "items": entry}),
        status_400=json_object(("error",), error=_TEXT),
    )


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
