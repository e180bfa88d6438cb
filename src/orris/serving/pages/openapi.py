"""The OpenAPI document.

It has FastAPI's own routes and the fast path's, with the model's columns, kinds, bounds and an example row.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orris.schema.documents import row_schema
from orris.serving.access.gate import Access
from orris.serving.engine import Engine
from orris.serving.routing import ActionRoute, Router

JsonObject = dict[str, Any]

_SCHEMES: JsonObject = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, a JSON Web Token, or the administrator's token.",
    },
}
_REFUSALS = {
    "401": "No valid credential.",
    "403": "The credential is not an administrator's, or there is none.",
    "429": "The caller's rate is used up; Retry-After says when to try again.",
}
_NO_WORD = re.compile(r"[^0-9A-Za-z]+")


def document(app: FastAPI, engine: Engine, routes: Router, access: Access) -> JsonObject:
    """The document for the loaded model. A dialect may have a method ``describe(schema)``, which gives its operation.

    Credentials and their refusals are in it where a credential is configured.

    Args:
        app: The pages.
        engine: The default model's live version.
        routes: What is answered without FastAPI.
        access: The access rules; without an administrator, the routes that change what is served are off, and left out.
    """
    manifest = engine.manifest
    described = get_openapi(
        title=f"Orris · {manifest.name}",
        version=manifest.version,
        description=(
            f"Predicts `{manifest.schema.target}` with {manifest.name} {manifest.version}."
            f" {manifest.verdict.sentence()}"
        ),
        routes=app.routes,
    )
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= {"Row": row_schema(manifest.schema), "Answer": _answer(engine), "Problem": _problem()}
    schemas |= {
        "AnswerList": _list_of({"$ref": "#/components/schemas/Answer"}),
        "PredictionList": _prediction_list(engine),
    }
    if access.guards or access.administered:
        components["securitySchemes"] = _SCHEMES
    for path, operations in described["paths"].items():
        if access.guards_path(path):
            described["paths"][path] = {
                method: _guarded(operation, ("401",)) for method, operation in operations.items()
            }
    for raw, predict_route in routes.predict_routes.items():
        path = raw.decode()
        describe = (
            getattr(predict_route.dialect, "describe", None)
            if _is_of(path, predict_route.route, manifest.name)
            else None
        )
        operation = {"operationId": _id_of(path), **(describe(manifest.schema) if describe is not None else _unknown())}
        described["paths"][path] = {"post": _guarded(operation, ("401", "429")) if access.guards else operation}
    for action in routes.actions:
        refusals = ("401", "403") if action.admin else ("401",)
        if access.administered or not action.admin:
            operation = _action(action)
            described["paths"][action.route] = {
                "post": _guarded(operation, refusals) if access.guards or action.admin else operation
            }
    return described


def _id_of(path: str) -> str:
    return f"post{_NO_WORD.sub('_', path)}"


def _guarded(operation: JsonObject, refusals: tuple[str, ...]) -> JsonObject:
    """An operation that needs a credential, with the refusals that follow, shaped like its other refusals."""
    content = operation["responses"].get("400", {}).get("content")
    told = {
        status: {"description": _REFUSALS[status], **({"content": content} if content else {})} for status in refusals
    }
    security: list[JsonObject] = [{name: []} for name in _SCHEMES]
    return {**operation, "security": security, "responses": {**operation["responses"], **told}}


def _action(action: ActionRoute) -> JsonObject:
    """A route that changes or lists the served models; its body may be empty."""
    named = (
        [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
        if "{model}" in action.route
        else []
    )
    failures = (
        {"404": "No such model or version.", "409": "The new version is not sound; the old one stays."}
        if action.admin
        else {}
    )
    return {
        "operationId": _id_of(action.route),
        "summary": action.summary,
        "tags": ["administration"] if action.admin else ["Open Inference Protocol V2"],
        "parameters": named,
        "requestBody": {"required": False, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {
            status: {"description": text}
            for status, text in {"200": "Done.", "400": "The body is not understood.", **failures}.items()
        },
    }


def _is_of(path: str, template: str, name: str) -> bool:
    """Whether a route is this model's, whose rows the document describes."""
    before, named, _ = template.partition("{model}")
    return not named or re.match(rf"{re.escape(name)}(?=[/:]|$)", path[len(before) :]) is not None


def _unknown() -> JsonObject:
    """An operation of which nothing is known but that it takes a POST."""
    return {
        "summary": "Predict",
        "tags": ["predict"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": {"200": {"description": "The answer."}, "default": {"description": "A refusal."}},
    }


def _answer(engine: Engine) -> JsonObject:
    properties: JsonObject = {
        "request_id": {"type": "string"},
        "model_version": {"type": "string"},
        "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Problem/properties/errors/items"}},
    }
    if engine.schema.task == "regression":
        properties = {"prediction": {"type": "number"}, **properties}
    else:
        labels = list(engine.text_labels)
        properties = {
            "prediction": {"type": "integer", "enum": list(engine.class_numbers)},
            "prediction_label": {"type": "string", "enum": labels},
            "predicted_class": {"type": "string", "enum": labels, "description": "On /predict/ only: the label."},
            "probabilities": {
                "type": "array",
                "items": {"type": "number"},
                "description": f"In the order {', '.join(labels[:20])}.",
            },
            **properties,
        }
    return {"type": "object", "required": ["prediction"], "properties": properties}


def _list_of(item: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "required": ["predictions", "request_id", "model_version"],
        "properties": {
            "predictions": {"type": "array", "items": item},
            "request_id": {"type": "string"},
            "model_version": {"type": "string"},
            "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Problem/properties/errors/items"}},
        },
    }


def _prediction_list(engine: Engine) -> JsonObject:
    """The answer to ``instances``."""
    schema = engine.schema
    described = _list_of({"type": "number"} if schema.task == "regression" else {"enum": list(schema.labels)})
    described["properties"]["probabilities"] = {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}},
    }
    return described


def _problem() -> JsonObject:
    where = {
        "type": "object",
        "properties": {
            "row": {"type": ["integer", "null"]},
            "column": {"type": ["string", "null"]},
            "problem": {"type": "string"},
        },
    }
    return {
        "title": "Problem (RFC 9457)",
        "type": "object",
        "required": ["type", "title", "status", "request_id"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "error": {"type": "string", "description": "With 400: the detail again."},
            "errors": {"type": "array", "items": where},
            "request_id": {"type": "string"},
        },
    }
