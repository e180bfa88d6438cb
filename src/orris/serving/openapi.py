"""The OpenAPI document: FastAPI's own routes, and the fast lane's, with the model's columns, kinds, bounds and an example row in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orris.schema.documents import row_schema
from orris.serving.door import Door
from orris.serving.engine import Engine

JsonObject = dict[str, Any]

_NO_WORD = re.compile(r"[^0-9A-Za-z]+")


def document(app: FastAPI, engine: Engine, doors: Mapping[bytes, Door]) -> JsonObject:
    """The document for the loaded model. A dialect may have a method ``describe(schema)``, which gives its operation."""
    manifest = engine.manifest
    described = get_openapi(
        title=f"Orris · {manifest.name}",
        version=manifest.version,
        description=f"Predicts `{manifest.schema.target}` with {manifest.name} {manifest.version}. {manifest.verdict.sentence()}",
        routes=app.routes,
    )
    components = described.setdefault("components", {}).setdefault("schemas", {})
    components |= {"Row": row_schema(manifest.schema), "Answer": _answer(engine), "Problem": _problem()}
    components |= {"AnswerList": _list_of({"$ref": "#/components/schemas/Answer"}), "PredictionList": _prediction_list(engine)}
    for raw, door in doors.items():
        path = raw.decode()
        describe = getattr(door.dialect, "describe", None) if _is_of(path, door.route, manifest.name) else None
        operation = describe(manifest.schema) if describe is not None else _unknown()
        described["paths"][path] = {"post": {"operationId": f"post{_NO_WORD.sub('_', path)}", **operation}}
    return described


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
            "probabilities": {"type": "array", "items": {"type": "number"}, "description": f"In the order {', '.join(labels[:20])}."},
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
    described["properties"]["probabilities"] = {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}
    return described


def _problem() -> JsonObject:
    where = {
        "type": "object",
        "properties": {"row": {"type": ["integer", "null"]}, "column": {"type": ["string", "null"]}, "problem": {"type": "string"}},
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
