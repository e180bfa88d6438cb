"""The predict routes in OpenAPI: what each dialect reads and writes. Looked at only when the document is asked for."""

from __future__ import annotations

from typing import Any

from orris.protocols.tensors import DATATYPES, input_specs
from orris.schema import Schema
from orris.schema.documents import example_row

JsonObject = dict[str, Any]

OPEN_INFERENCE = "Open Inference Protocol V2"
"""The group of V2's routes."""

_ROW: JsonObject = {"$ref": "#/components/schemas/Row"}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REASONS = {
    "400": "The body is not JSON, or in no form that is read here.",
    "413": "The body is too long.",
    "415": "The body is not of a content type that is read here.",
    "422": "A row does not fit the schema.",
    "503": "The model is not ready.",
}


def named_rows(schema: Schema) -> JsonObject:
    """Orris' own routes."""
    row = example_row(schema)
    forms: list[JsonObject] = [_ROW, {"type": "array", "items": _ROW, "minItems": 1}]
    examples = {"one row": {"value": row}, "several rows": {"value": [row, row]}}
    if "features" not in schema.names:
        forms.append(_object(features=_listed(schema)))
        examples["a row without names"] = {"value": {"features": list(row.values())}}
    if "instances" not in schema.names:
        forms.append(_object(instances=_rows(schema)))
        examples["instances"] = {"value": {"instances": [list(row.values())]}}
    answers = [{"$ref": f"#/components/schemas/{name}"} for name in ("Answer", "AnswerList", "PredictionList")]
    return {
        "summary": "Predict one row, or a list of rows",
        "tags": ["predict"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": forms}, "examples": examples}},
        },
        "responses": _answered({"anyOf": answers})
        | {status: {"description": text, "content": _PROBLEM} for status, text in _REASONS.items()},
    }


def instances(schema: Schema) -> JsonObject:
    """KServe V1 and Vertex AI."""
    body = {"anyOf": [_object(instances=_rows(schema)), _object(inputs=_rows(schema))]}
    example = {"instances": [list(example_row(schema).values())]}
    return {
        "summary": "Predict a list of instances (KServe V1, Vertex AI)",
        "tags": ["KServe V1"],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body, "example": example}}},
        "responses": _answered(_predictions(schema)) | _refused(_object(error={"type": "string"})),
    }


def invocations(schema: Schema) -> JsonObject:
    """MLflow and SageMaker."""
    names = {"type": "array", "items": {"type": "string"}}
    split = _object(columns=names, data={"type": "array", "items": {"type": "array"}, "minItems": 1})
    forms = [
        _object(dataframe_split=split),
        _object(dataframe_records={"type": "array", "items": _ROW, "minItems": 1}),
        _object(instances=_rows(schema)),
        _object(inputs={"anyOf": [_rows(schema), {"type": "object"}]}),
    ]
    row = example_row(schema)
    content = {
        "application/json": {
            "schema": {"oneOf": forms},
            "example": {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        },
        "text/csv": {"schema": {"type": "string", "description": "A line of column names, and a line per row."}},
    }
    refusal = _object(error_code={"type": "string"}, message={"type": "string"})
    return {
        "summary": "Predict a table (MLflow, SageMaker)",
        "tags": ["MLflow"],
        "requestBody": {"required": True, "content": content},
        "responses": _answered(_predictions(schema)) | _refused(refusal),
    }


def tensors(schema: Schema) -> JsonObject:
    """The Open Inference Protocol V2: one tensor per column, or one of all rows where no column holds text."""
    dimensions = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    text, anything = {"type": "string"}, {"type": "array"}
    tensor = _object(name=text, shape=dimensions, datatype={"enum": list(DATATYPES)})
    data = {"description": "Flat or nested; left out where the data are binary.", **anything}
    given = {**tensor, "properties": {**tensor["properties"], "data": data}}
    body = _object(inputs={"type": "array", "items": given, "minItems": 1})
    body["properties"] |= {
        "id": text,
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _object(name=text)},
    }
    row = example_row(schema)
    example = {
        "inputs": [
            {"name": spec.name, "shape": [1, 1], "datatype": spec.datatype, "data": [row[spec.name]]}
            for spec in input_specs(schema)
        ]
    }
    answer = _object(model_name=text, model_version=text, id=text, outputs={"type": "array", "items": given})
    answer["properties"]["parameters"] = {
        "type": "object",
        "description": "`warnings`: unusual values, as a JSON text.",
    }
    content = {
        "application/json": {"schema": body, "example": example},
        "application/octet-stream": {
            "schema": {**text, "format": "binary", "description": "JSON, then binary tensors (Triton's extension)."}
        },
    }
    return {
        "summary": "Infer (Open Inference Protocol V2)",
        "tags": [OPEN_INFERENCE],
        "requestBody": {"required": True, "content": content},
        "responses": _answered(answer) | _refused(_object(error=text)),
    }


def model_metadata() -> JsonObject:
    """The content of a model's metadata in the Open Inference Protocol V2."""
    text: JsonObject = {"type": "string"}
    shape = {"type": "array", "items": {"type": "integer"}}
    tensors = {"type": "array", "items": _object(name=text, datatype=text, shape=shape)}
    versions = {"type": "array", "items": text}
    schema = _object(name=text, platform=text, versions=versions, inputs=tensors, outputs=tensors)
    return {"application/json": {"schema": schema}}


def _object(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(properties), "properties": properties}


def _listed(schema: Schema) -> JsonObject:
    return {
        "type": "array",
        "minItems": schema.n_columns,
        "maxItems": schema.n_columns,
        "description": f"In the order {_order(schema)}.",
    }


def _rows(schema: Schema) -> JsonObject:
    return {"type": "array", "items": {"anyOf": [_listed(schema), _ROW]}, "minItems": 1}


def _order(schema: Schema) -> str:
    more = f" … ({schema.n_columns} columns)" if schema.n_columns > 20 else ""
    return ", ".join(schema.names[:20]) + more


def _predictions(schema: Schema) -> JsonObject:
    item: JsonObject = {"type": "number"} if schema.task == "regression" else {"enum": list(schema.labels)}
    probabilities = {"type": "array", "items": {"type": "number"}}
    return _object(predictions={"type": "array", "items": {"anyOf": [item, probabilities]}})


def _answered(schema: JsonObject) -> JsonObject:
    return {"200": {"description": "The answer, or the answers.", "content": {"application/json": {"schema": schema}}}}


def _refused(schema: JsonObject) -> JsonObject:
    """The refusals of a protocol with an error shape of its own, and no 422."""
    told = {"application/json": {"schema": schema}, "text/plain": {"schema": {"type": "string"}}}
    return {status: {"description": text, "content": told} for status, text in _REASONS.items() if status != "422"}
