"""The OpenAPI operations of routes that ask no model: what a record says of itself, in a line or two."""

from __future__ import annotations

from orris.schema import Schema
from orris.serving.protocol import Describe, JsonObject

PROBLEM: JsonObject = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
"""The content of a problem document."""

TEXT: JsonObject = {"text/plain": {"schema": {"type": "string"}}}
"""The content of plain text."""


def of(kind: str, schema: JsonObject | None = None) -> JsonObject:
    """The content of one media type; by default of any text or bytes."""
    return {kind: {"schema": schema or {"type": "string"}}}


def json_object(required: tuple[str, ...] = (), **properties: JsonObject) -> JsonObject:
    """The content of a JSON object; properties may be added to it."""
    schema: JsonObject = {"type": "object", "properties": properties}
    return {"application/json": {"schema": {**schema, "required": list(required)} if required else schema}}


def reading(summary: str, tag: str, content: JsonObject, **refusals: JsonObject) -> Describe:
    """The operation of a GET.

    Args:
        summary: What it answers.
        tag: The group that it is shown in.
        content: What it answers, by media type.
        **refusals: What else it may answer: ``status_404={media type: …}``.
    """
    return _operation(summary, tag, {"200": {"description": summary, "content": content}}, refusals)


def acting(summary: str, tag: str, body: JsonObject | None, content: JsonObject, **refusals: JsonObject) -> Describe:
    """The operation of a POST that asks no model; its body, an object of ``body``'s properties, may be left out.

    Args:
        summary: What it does.
        tag: The group that it is shown in.
        body: The properties of the body's object; ``None``: no body is read.
        content: What it answers, by media type; empty: no body.
        **refusals: What else it may answer: ``status_404={media type: …}``.
    """
    done: JsonObject = {"description": summary} | ({"content": content} if content else {})
    if body is None:
        return _operation(summary, tag, {"200": done}, refusals)
    given = {"schema": {"type": "object", "properties": body}}
    more = {"requestBody": {"required": False, "content": {"application/json": given}}}
    return _operation(summary, tag, {"200": done}, refusals, more)


_REASONS = {
    "400": "The body is not understood.",
    "404": "There is no such model, version or file here.",
    "409": "The new version is not sound; the old one stays.",
    "413": "The body is too long.",
    "501": "This operation of the protocol is not offered.",
    "503": "The model or the server is not ready.",
}


def _operation(
    summary: str, tag: str, responses: JsonObject, refusals: dict[str, JsonObject], more: JsonObject | None = None
) -> Describe:
    refused = {
        status: {"description": _REASONS[status], "content": content}
        for status, content in ((name.removeprefix("status_"), content) for name, content in refusals.items())
    }

    def describe(_schema: Schema) -> JsonObject:
        """The operation; it is the same for every model."""
        return {"summary": summary, "tags": [tag], **(more or {}), "responses": {**responses, **refused}}

    return describe
