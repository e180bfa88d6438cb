"""The calls that the examples of the OpenAPI document describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ARGUMENTS = {"model": "iris", "version": "1.0.0"}
"""Values of the parameters in templates."""

FORMS = {
    "dataframe_split": "DataframeSplit",
    "features": "Features",
    "instances": "Instances",
    "inputs": "InferRequest",
}
"""Named schemas of bodies, by the key that only they have."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to an operation.

    Attributes:
        operation: Its ``operationId``.
        tag: Its group.
        path: Its template.
        arguments: Values of the template's parameters, by name, in their order.
        request: The named schema of the operation's body.
        form: The named schema of this body; ``request``, or a member of that union.
        body: The body.
    """

    operation: str
    tag: str
    path: str
    arguments: dict[str, str]
    request: str
    form: str
    body: dict[str, Any]


def calls_of(document: dict[str, Any]) -> list[Call]:
    """One call per example of each operation that asks a model."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method != "post" or not operation.get("requestBody", {}).get("required"):
                continue
            content = operation["requestBody"]["content"]["application/json"]
            arguments = {each["name"]: ARGUMENTS[each["name"]] for each in operation.get("parameters", [])}
            request = content["schema"]["$ref"].rpartition("/")[2]
            for example in content.get("examples", {"": {"value": content.get("example")}}).values():
                body = example["value"]
                form = next((name for key, name in FORMS.items() if key in body), "Row")
                call = Call(operation["operationId"], operation["tags"][0], path, arguments, request, form, body)
                found.append(call)
    return found
