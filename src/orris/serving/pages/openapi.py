"""The OpenAPI document, made of the records of all routes and the model's columns, kinds and bounds."""

from __future__ import annotations

import re
from collections.abc import Callable

from orris.schema import Schema
from orris.schema.documents import row_schema
from orris.serving.access.gate import Access
from orris.serving.engine import Engine
from orris.serving.protocol import Credential, Get, JsonObject, Post, Predict, Route
from orris.serving.routing import RouteTable

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
Schemas = Callable[[Schema], JsonObject]
"""``(schema of the default model)`` -> the named schemas that operations refer to."""

_PARAMETER = re.compile(r"\{(\w+)\}")
_NO_WORD = re.compile(r"[^0-9A-Za-z]+")


def document(engine: Engine, table: RouteTable, access: Access, schemas: Schemas) -> JsonObject:
    """The document for the default model: the operation of every record that has one.

    Credentials and their refusals are in it where a credential is configured.

    Args:
        engine: The default model's live version.
        table: The records.
        access: The access rules; without an administrator, the routes that change what is served are off, and left out.
        schemas: The named schemas of the protocols.
    """
    manifest = engine.manifest
    components: JsonObject = {
        "schemas": {
            "Row": row_schema(manifest.schema),
            "Answer": _answer(engine),
            "Problem": _problem(),
            "RowProblem": _row_problem(),
            "PredictionList": _prediction_list(engine),
            **schemas(manifest.schema),
        }
    }
    if access.guards or access.administered:
        components["securitySchemes"] = _SCHEMES
    paths: JsonObject = {}
    for route in sorted(table, key=_order):
        if route.operation is None or (route.credential is Credential.ADMIN and not access.administered):
            continue
        method = "post" if isinstance(route, Predict | Post) else "get"
        operation = {
            "operationId": _id_of(method, route.template),
            **_parameters(route, manifest.name, manifest.version),
            **route.operation(manifest.schema),
        }
        refusals = _refusals(route, access)
        paths.setdefault(route.template, {})[method] = _guarded(operation, refusals) if refusals else operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Orris · {manifest.name}",
            "version": manifest.version,
            "description": (
                f"Predicts `{manifest.schema.target}` with {manifest.name} {manifest.version}."
                f" {manifest.verdict.sentence()}"
            ),
        },
        "paths": paths,
        "components": components,
    }


def _order(route: Route) -> int:
    """The default model's predict routes first, then those that name a model, then all others."""
    return ("{model}" in route.template) if isinstance(route, Predict) else 2


def _id_of(method: str, template: str) -> str:
    slash = "_slash" if len(template) > 1 and template.endswith("/") else ""
    return method + _NO_WORD.sub("_", template).rstrip("_") + slash


def _parameters(route: Route, model: str, version: str) -> JsonObject:
    """The parameters of a template; the model's and the version's with an example."""
    names = _PARAMETER.findall(route.template)
    values = sorted(route.values) if isinstance(route, Get) else []
    schemas: JsonObject = {
        "model": {"type": "string", "examples": [model]},
        "version": {"type": "string", "examples": [version]},
    }
    other = {"type": "string", "enum": values} if values else {"type": "string"}
    parameters = [{"name": name, "in": "path", "required": True, "schema": schemas.get(name, other)} for name in names]
    return {"parameters": parameters} if parameters else {}


def _refusals(route: Route, access: Access) -> tuple[str, ...]:
    """The answers to a request without a valid credential."""
    if route.credential is Credential.ADMIN:
        return ("401", "403")
    if not access.asks(route.credential):
        return ()
    return ("401", "429") if isinstance(route, Predict) else ("401",)


def _guarded(operation: JsonObject, refusals: tuple[str, ...]) -> JsonObject:
    """An operation that needs a credential, with the refusals that come of it, in the shape of its other refusals."""
    refused = [answer for status, answer in operation["responses"].items() if status >= "400"]
    content = refused[0].get("content") if refused else None
    told = {
        status: {"description": _REFUSALS[status], **({"content": content} if content else {})} for status in refusals
    }
    security: list[JsonObject] = [{name: []} for name in _SCHEMES]
    return {**operation, "security": security, "responses": {**operation["responses"], **told}}


def _answer(engine: Engine) -> JsonObject:
    properties: JsonObject = {
        "request_id": {"type": "string"},
        "model_version": {"type": "string"},
        "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/RowProblem"}},
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
            **({"score": {"type": "number"}} if engine.has_scores else {}),
            **properties,
        }
    return {"type": "object", "required": ["prediction"], "properties": properties}


def _prediction_list(engine: Engine) -> JsonObject:
    """The answers to several rows.

    One schema for ``instances`` and for lists of rows: clients in TypeScript tell the members of a union apart by the
    names of required properties alone.
    """
    bare = "a value" if engine.schema.task == "regression" else "a label in its own type"
    if engine.has_scores:
        bare = "a list of a label and its score"
    return {
        "type": "object",
        "required": ["predictions", "request_id", "model_version"],
        "properties": {
            "predictions": {
                "type": "array",
                "items": {},
                "minItems": 1,
                "description": f"For `instances`, {bare} per row; for a list of rows, an `Answer` per row.",
            },
            "probabilities": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "request_id": {"type": "string"},
            "model_version": {"type": "string"},
            "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/RowProblem"}},
        },
    }


def _row_problem() -> JsonObject:
    return {
        "type": "object",
        "required": ["problem"],
        "properties": {
            "row": {"type": ["integer", "null"]},
            "column": {"type": ["string", "null"]},
            "problem": {"type": "string"},
        },
    }


def _problem() -> JsonObject:
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
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/RowProblem"}},
            "request_id": {"type": "string"},
        },
    }
