"""The predict routes in OpenAPI: what each dialect reads and writes. Looked at only when the document is asked for."""

from __future__ import annotations

from typing import Any

from orris.protocols.tensors import DATATYPES, input_specs
from orris.schema import Kind, Schema
from orris.schema.documents import example_row, value_schema

JsonObject = dict[str, Any]

OPEN_INFERENCE = "Open Inference Protocol V2"
"""The group of V2's routes."""

_ROW: JsonObject = {"$ref": "#/components/schemas/Row"}
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_DIMENSIONS: JsonObject = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_CSV: JsonObject = {
    "text/csv": {"schema": {"type": "string", "description": "A line of column names, and a line per row."}}
}
_REASONS = {
    "404": "There is no such model or version here.",
    "400": "The body is not JSON, or in no form that is read here.",
    "413": "The body is too long.",
    "415": "The body is not of a content type that is read here.",
    "422": "A row does not fit the schema.",
    "503": "The model is not ready.",
}


def schemas(schema: Schema) -> JsonObject:
    """The named schemas that the operations refer to.

    Generators of clients make a class of each; so arrays have items, and what several operations share has one name.
    A body is one of its forms, not any of them, since generators of TypeScript merge the members of ``anyOf`` into one
    type that requires the properties of all.
    """
    text: JsonObject = {"type": "string"}
    data: JsonObject = {"type": "array", "items": {}, "description": "Flat or nested; left out where it is binary."}
    tensor = _object(name=text, shape=_DIMENSIONS, datatype={"type": "string", "enum": list(DATATYPES)})
    tensor["properties"] |= {"data": data, "parameters": {"type": ["object", "null"]}}
    request = _object(inputs={"type": "array", "items": _ref("InferTensor"), "minItems": 1})
    request["properties"] |= {
        "id": {"type": ["string", "null"]},
        "parameters": {"type": ["object", "null"]},
        "outputs": {"type": ["array", "null"], "items": _ref("InferOutput")},
    }
    response = _object(model_name=text, model_version=text, id=text)
    response["properties"] |= {
        "outputs": {"type": "array", "items": _ref("InferTensor")},
        "parameters": {"type": "object", "description": "`warnings`: unusual values, as a JSON text."},
    }
    response["required"].append("outputs")
    forms = [_ROW, *(_ref(name.capitalize()) for name in ("features", "instances") if name not in schema.names)]
    tables = [_ref(name) for name in ("DataframeSplit", "DataframeRecords", "Instances", "Inputs")]
    frame = _object(data=_rows())
    frame["properties"]["columns"] = {
        "type": ["array", "null"],
        "items": text,
        "description": "Names of the columns; left out: those of the schema, in its order.",
    }
    return {
        "PredictRequest": {"oneOf": forms},
        "PredictResponse": {"oneOf": [_ref("Answer"), _ref("PredictionList")]},
        "RowValues": _listed(schema),
        "Features": _object(features=_ref("RowValues")),
        "Instances": _object(instances=_rows()),
        "Inputs": _object(inputs=_rows()),
        "DataframeSplit": _object(dataframe_split=frame),
        "DataframeRecords": _object(dataframe_records={"type": "array", "items": _ROW, "minItems": 1}),
        "InvocationsRequest": {"oneOf": tables},
        "Predictions": _object(predictions={"type": "array", "items": _prediction(schema)}),
        "InferTensor": tensor,
        "InferOutput": _object(name=text),
        "InferRequest": request,
        "InferResponse": response,
        "ProtocolError": _object(error=text),
        "MLflowError": _object(error_code=text, message=text),
    }


def named_rows(schema: Schema) -> JsonObject:
    """Orris' own routes."""
    row = example_row(schema)
    examples = {"one row": {"value": row}}
    if "features" not in schema.names:
        examples["a row without names"] = {"value": {"features": list(row.values())}}
    if "instances" not in schema.names:
        examples["instances"] = {"value": {"instances": [list(row.values())]}}
    return {
        "summary": "Predict one row, or a list of rows",
        # A list in a union is what generators of clients make no class of.
        "description": "A JSON list of rows is read as well, and answered with a list of answers under `predictions`.",
        "tags": ["predict"],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("PredictRequest"), "examples": examples}, **_CSV},
        },
        "responses": _answered(_ref("PredictResponse"))
        | {status: {"description": text, "content": _PROBLEM} for status, text in _REASONS.items()},
    }


def instances(schema: Schema) -> JsonObject:
    """KServe V1 and Vertex AI."""
    example = {"instances": [list(example_row(schema).values())]}
    body = {"schema": _ref("Instances"), "example": example}
    return {
        "summary": "Predict a list of instances (KServe V1, Vertex AI)",
        "tags": ["KServe V1"],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": _answered(_ref("Predictions")) | _refused("ProtocolError"),
    }


def invocations(schema: Schema) -> JsonObject:
    """MLflow and SageMaker."""
    row = example_row(schema)
    content = {
        "application/json": {
            "schema": _ref("InvocationsRequest"),
            "example": {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        },
        **_CSV,
    }
    refused = _refused("MLflowError")
    refused["415"] = {**refused["415"], "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {
        "summary": "Predict a table (MLflow, SageMaker)",
        "description": "NumPy arrays and JSON lines are read as well; `Accept` chooses the form of the answer.",
        "tags": ["MLflow"],
        "requestBody": {"required": True, "content": content},
        "responses": _answered(_ref("Predictions")) | refused,
    }


def tensors(schema: Schema) -> JsonObject:
    """The Open Inference Protocol V2: one tensor per column, or one of all rows where no column holds text."""
    row = example_row(schema)
    example = {
        "inputs": [
            {"name": spec.name, "shape": [1, 1], "datatype": spec.datatype, "data": [row[spec.name]]}
            for spec in input_specs(schema)
        ]
    }
    return {
        "summary": "Infer (Open Inference Protocol V2)",
        "description": "JSON with binary tensors behind it (Triton's extension) is read as well.",
        "tags": [OPEN_INFERENCE],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("InferRequest"), "example": example}},
        },
        "responses": _answered(_ref("InferResponse")) | _refused("ProtocolError"),
    }


def model_metadata() -> JsonObject:
    """The content of a model's metadata in the Open Inference Protocol V2."""
    text: JsonObject = {"type": "string"}
    shape = {"type": "array", "items": {"type": "integer"}}
    tensors = {"type": "array", "items": _object(name=text, datatype=text, shape=shape)}
    versions = {"type": "array", "items": text}
    schema = _object(name=text, platform=text, versions=versions, inputs=tensors, outputs=tensors)
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(properties), "properties": properties}


def _listed(schema: Schema) -> JsonObject:
    """A row as a list."""
    numbers = all(column.kind in {Kind.NUMBER, Kind.INTEGER} and not column.missing for column in schema.columns)
    return {
        "type": "array",
        "prefixItems": [value_schema(column) for column in schema.columns],
        "items": {"type": "number"} if numbers else {},
        "minItems": schema.n_columns,
        "maxItems": schema.n_columns,
        "description": f"In the order {_order(schema)}.",
    }


def _rows() -> JsonObject:
    return {
        "type": "array",
        "items": _ref("RowValues"),
        "minItems": 1,
        "description": "A row may be an object by names as well.",
    }


def _order(schema: Schema) -> str:
    more = f" … ({schema.n_columns} columns)" if schema.n_columns > 20 else ""
    return ", ".join(schema.names[:20]) + more


def _prediction(schema: Schema) -> JsonObject:
    """A prediction; where a model has probabilities, a list of them may be asked for instead."""
    return {"type": "number"} if schema.task == "regression" else {}


def _answered(schema: JsonObject) -> JsonObject:
    return {"200": {"description": "The answer, or the answers.", "content": {"application/json": {"schema": schema}}}}


def _refused(name: str) -> JsonObject:
    """The refusals of a protocol with an error shape of its own, and no 422."""
    content = {"application/json": {"schema": _ref(name)}}
    return {status: {"description": text, "content": content} for status, text in _REASONS.items() if status != "422"}
