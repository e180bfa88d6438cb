"""The OpenAPI document: FastAPI's own routes, and the fast lane's, with the model's columns, kinds, bounds and an example row in it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orris.schema.documents import example_row, row_schema
from orris.serving.engine import Engine

JsonObject = dict[str, Any]


def document(app: FastAPI, engine: Engine, predict_routes: list[str]) -> JsonObject:
    """The document for the loaded model."""
    manifest = engine.manifest
    described = get_openapi(
        title=f"Orris · {manifest.name}",
        version=manifest.version,
        description=f"Predicts `{manifest.schema.target}` with {manifest.name} {manifest.version}. {manifest.verdict.sentence()}",
        routes=app.routes,
    )
    components = described.setdefault("components", {}).setdefault("schemas", {})
    components |= {"Row": row_schema(manifest.schema), "Answer": _answer(engine), "Problem": _problem()}
    components["AnswerList"] = _answer_list()
    for route in predict_routes:
        described["paths"][route] = {"post": _operation(route, example_row(manifest.schema))}
    return described


def _operation(route: str, row: JsonObject) -> JsonObject:
    one, several = {"$ref": "#/components/schemas/Row"}, {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1}
    answers = [{"$ref": "#/components/schemas/Answer"}, {"$ref": "#/components/schemas/AnswerList"}]
    examples = {"one row": {"value": row}, "several rows": {"value": [row, row]}}
    refused = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    reasons = {
        "400": "The body is not JSON.",
        "413": "The body is too long.",
        "415": "The body is not of a content type that is read here.",
        "422": "A row does not fit the schema.",
        "503": "The model is not ready.",
    }
    return {
        "operationId": f"predict{route.replace('/', '_')}",
        "summary": "Predict one row, or a list of rows",
        "tags": ["predict"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"oneOf": [one, several]}, "examples": examples}}},
        "responses": {
            "200": {"description": "The answer, or the answers.", "content": {"application/json": {"schema": {"oneOf": answers}}}},
            **{status: {"description": reason, "content": refused} for status, reason in reasons.items()},
        },
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


def _answer_list() -> JsonObject:
    return {
        "type": "object",
        "required": ["predictions", "request_id", "model_version"],
        "properties": {
            "predictions": {"type": "array", "items": {"$ref": "#/components/schemas/Answer"}},
            "request_id": {"type": "string"},
            "model_version": {"type": "string"},
            "warnings": {"type": "array", "items": {"$ref": "#/components/schemas/Problem/properties/errors/items"}},
        },
    }


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
            "errors": {"type": "array", "items": where},
            "request_id": {"type": "string"},
        },
    }
