"""Tests of the OpenAPI document: what generators of clients need of it, and that its GETs answer as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers import Server, client


@pytest.fixture(scope="module")
def documents(server: Server, mixed_server: Server) -> list[dict[str, Any]]:
    """Return the documents of a model of numbers, and of one with every kind of column."""
    found = []
    for running in (server, mixed_server):
        with client(running) as ask:
            found.append(ask.get("/openapi.json").json())
    return found


def schemas_in(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document that is a schema, or may be one."""
    if isinstance(part, dict):
        yield part
        for value in part.values():
            yield from schemas_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from schemas_in(value)


def test_every_array_has_items_and_no_union_holds_an_array(documents: list[dict[str, Any]]) -> None:
    """Every array has items and no union holds an array, since generators make no class of such schemas."""
    for document in documents:
        for schema in schemas_in(document):
            if schema.get("type") == "array":
                assert "items" in schema
            for union in ("anyOf", "oneOf"):
                for member in schema.get(union, []):
                    assert set(member) == {"$ref"}
                    name = member["$ref"].removeprefix("#/components/schemas/")
                    assert document["components"]["schemas"][name]["type"] == "object"


def test_every_reference_is_a_named_schema(documents: list[dict[str, Any]]) -> None:
    """A reference points to a component, never into one."""
    for document in documents:
        named = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        references = {schema["$ref"] for schema in schemas_in(document) if isinstance(schema.get("$ref"), str)}
        assert references <= named


def test_operations_have_names_of_their_own_and_those_of_the_default_model_come_first(
    documents: list[dict[str, Any]],
) -> None:
    """A path with a model's name is a template, so the document does not grow with models and versions."""
    for document in documents:
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        names = [operation["operationId"] for operation in operations]
        assert len(names) == len(set(names))
        paths = list(document["paths"])
        assert set(paths[:4]) == {"/api/v1/predict", "/predict", "/predict/", "/invocations"}
        assert not [path for path in paths if "/iris" in path or "/churn" in path]


def test_the_content_types_of_gets_are_those_that_are_answered(server: Server, documents: list[dict[str, Any]]) -> None:
    """Every documented GET answers with a media type that the document names for the status."""
    with client(server) as ask:
        for template, operations in documents[0]["paths"].items():
            if "get" in operations:
                path = template.format(model="iris", version="1.0.0", plot="confusion_matrix.png", name="region")
                answer = ask.get(path)
                expected = 404 if "{name}" in template else 200  # no region of shared memory is ever registered
                assert answer.status_code == expected, path
                kind = answer.headers["content-type"].partition(";")[0]
                assert kind in operations["get"]["responses"][str(expected)]["content"], path
