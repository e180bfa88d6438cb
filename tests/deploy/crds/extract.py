"""Write the schemas beside this file from two packages.

Run by hand when Flux or Argo CD is upgraded (see README.md here).

``python -m tests.deploy.crds.extract FLUX_WHEEL ARGO_PACKAGE`` takes the unpacked wheel of ``cloudcoil-models-fluxcd``
(PyPI; needs pydantic, and stands in for the rest of cloudcoil itself) and the unpacked npm package
``@kubernetes-models/argo-cd``. Descriptions are left out; a key that is not in the schema is refused.
"""

from __future__ import annotations

import ast
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

from tests.chart.crds.extract import of_kind, resource

HERE = Path(__file__).parent
FLUX = {
    "helm.v2": ["HelmRelease"],
    "source.v1": ["OCIRepository", "HelmRepository"],
    "kustomize.v1": ["Kustomization"],
}
ARGO = ["ApplicationSet", "AppProject"]
KEPT = {
    "type",
    "enum",
    "const",
    "pattern",
    "items",
    "required",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
}


def flux(wheel: Path) -> None:
    """The schemas of Flux, from the fields of generated pydantic models.

    Their builders, which need cloudcoil, are left out.
    """
    import pydantic

    class Base(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")

    for path, kinds in FLUX.items():
        module = types.ModuleType(path)
        sys.modules[path] = module
        names = {"BaseModel": Base, "Resource": Base, "ObjectMeta": dict[str, Any], "UNSET": None}
        names |= {name: getattr(typing, name) for name in ("Annotated", "Any", "ClassVar", "Literal")}
        names |= {name: getattr(pydantic, name) for name in ("AwareDatetime", "Field", "RootModel")}
        module.__dict__.update(names)
        tree = ast.parse((wheel / "cloudcoil/models/fluxcd" / f"{path.replace('.', '/')}.py").read_text("utf-8"))
        for found in [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.endswith("List")]:
            found.body = [
                node for node in found.body if isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node)
            ]
            found.body = found.body or [ast.Pass()]
            exec("from __future__ import annotations\n" + ast.unparse(found), module.__dict__)  # noqa: S102 (field declarations of a package that was chosen by hand)
        for kind in kinds:
            model = getattr(module, kind)
            model.model_rebuild(_types_namespace=module.__dict__)
            schema = model.model_json_schema(by_alias=True)
            write(kind, resource(trimmed(schema, schema.get("$defs", {}))))


def trimmed(schema: Any, definitions: dict[str, Any]) -> Any:
    """Without descriptions, titles, references and ``null``; objects with properties take no others."""
    if "$ref" in schema:
        schema = {
            **definitions[schema["$ref"].rpartition("/")[2]],
            **{key: schema[key] for key in schema if key in KEPT},
        }
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        return trimmed(options[0] | {key: schema[key] for key in schema if key in KEPT}, definitions)
    kept = {key: value for key, value in schema.items() if key in KEPT}
    if options:
        kept["anyOf"] = [trimmed(option, definitions) for option in options]
    if isinstance(kept.get("items"), dict):
        kept["items"] = trimmed(kept["items"], definitions)
    if "properties" in schema:
        kept["properties"] = {
            name: trimmed(value, definitions) for name, value in schema["properties"].items() if name != "status"
        }
        kept["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = trimmed(schema["additionalProperties"], definitions)
    return kept


def argo(package: Path) -> None:
    """The schemas of Argo CD, from the TypeScript interfaces that were generated from its OpenAPI document."""
    for kind in ARGO:
        write(kind, of_kind(package / "argoproj.io" / "v1alpha1" / f"{kind}.d.ts"))


def write(kind: str, schema: Any) -> None:
    """One file for each kind."""
    (HERE / f"{kind}.json").write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    flux(Path(sys.argv[1]))
    argo(Path(sys.argv[2]))
