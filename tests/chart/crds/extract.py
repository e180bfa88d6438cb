"""Write the schemas beside this file: run by hand when an operator is upgraded (see README.md here).

``python extract.py FOLDER`` takes a folder of unpacked npm packages ``@kubernetes-models/*``, whose TypeScript
interfaces were generated from the operators' CustomResourceDefinitions. A key that is not in a schema is refused, as
the API server does with strict field validation.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

HERE = Path(__file__).parent
KINDS = {
    "keda.sh/v1alpha1": ["ScaledObject"],
    "argoproj.io/v1alpha1": ["Rollout", "AnalysisTemplate"],
    "monitoring.coreos.com/v1": ["ServiceMonitor", "PrometheusRule"],
    "cert-manager.io/v1": ["Certificate"],
    "gateway.networking.k8s.io/v1": ["HTTPRoute", "GRPCRoute", "Gateway", "GatewayClass"],
    "networking.istio.io/v1": ["DestinationRule"],
    "security.istio.io/v1": ["PeerAuthentication", "AuthorizationPolicy"],
}
OTHERS = {"trafficRouting", "volumeClaimTemplates"}
"""Large parts of which the chart uses nothing: refused from then on."""
GENERATORS = {"clusterDecisionResource", "merge", "plugin", "pullRequest", "scmProvider", "template"}
"""Of an ApplicationSet's generators, those that the tree does not use: likewise."""
_FIELD = re.compile(r'^    "([\w.-]+)"(\??): (.*?);$(?=\n(?:    "|\}|\s*$))', re.DOTALL | re.MULTILINE)
_COLLECTIONS = (
    (r"Array<(.*)>", "array", "items"),
    (r"\{\s*\[key: string\]: (.*);\s*\}", "object", "additionalProperties"),
)


class Module:
    """One ``.d.ts`` file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.text = re.sub(r"\s*/\*.*?\*/", "", file.read_text("utf-8"), flags=re.DOTALL)
        found = re.findall(r'import \{ ([^}]+) \} from "(\.[^"]+)\.js"', self.text)
        self.imports = {
            name.strip(): file.parent / f"{path}.d.ts" for names, path in found for name in names.split(",")
        }

    def schema(self, above: tuple[Path, ...]) -> Any:
        """What the file exports; ``{}``, which lets everything through, where it contains itself."""
        path = self.file.resolve()
        if path in above:
            return {}
        above = (*above, path)
        body = re.search(r"^export interface I\w+([^{]*)\{\n(.*?)^\}", self.text, re.DOTALL | re.MULTILINE)
        if body:
            schema = self.members(body.group(2), above)
            for base in re.findall(r"\w+", body.group(1).partition("extends")[2]):
                inherited = self.type(base, above)
                schema["properties"] |= inherited.get("properties", {})
                schema["required"] += inherited.get("required", [])
            return schema
        alias = re.search(r"^export (?:declare )?type I\w+ = (.*?);$", self.text, re.DOTALL | re.MULTILINE)
        return self.type(alias.group(1), above) if alias else {}

    def members(self, body: str, above: tuple[Path, ...]) -> Any:
        """The fields of an interface, indented by four."""
        others = OTHERS | {"status"} | (GENERATORS if self.file.name.endswith("Generator.d.ts") else set())
        fields = [(key, mark, value) for key, mark, value in _FIELD.findall(body) if key not in others]
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {key: self.type(value, above) for key, _, value in fields},
        }
        return schema | {"required": [key for key, mark, _ in fields if not mark], "additionalProperties": False}

    def type(self, text: str, above: tuple[Path, ...]) -> Any:
        """A type expression as a JSON schema; what is Kubernetes' own is checked elsewhere, and let through."""
        text = text.strip()
        if text in {"string", "boolean", "number"}:
            return {"type": text}
        for pattern, kind, of in (
            (r"Array<(.*)>", "array", "items"),
            (r"\{\s*\[key: string\]: (.*);\s*\}", "object", "additionalProperties"),
        ):
            if found := re.fullmatch(pattern, text, re.DOTALL):
                return {"type": kind, of: self.type(found.group(1), above)}
        if text.startswith("{"):
            text = text[: _closing(text) + 1]  # what follows are alternatives ("& ( … | …)"), which narrow it further
            return self.members(indent(dedent(text[1:-1].lstrip("\n").rstrip(" ")), "    "), above)
        if re.fullmatch(r'("[^"]*"\s*\|?\s*)+', text):
            return {"enum": re.findall(r'"([^"]*)"', text)}
        file = self.imports.get(text)
        return Module(file).schema(above) if file and file.exists() else {}


def _closing(text: str) -> int:
    """Position of the brace that closes the first one."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return position
    return len(text) - 1


def of_kind(file: Path) -> Any:
    """The schema of a custom resource; ``metadata`` is Kubernetes' own and checked elsewhere."""
    return resource(Module(file).schema(()))


def resource(schema: Any) -> Any:
    """The schema of a whole object: it says what it is, has a name, and a spec."""
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return schema


def main(folder: Path) -> None:
    """One file for each kind."""
    for group, kinds in KINDS.items():
        for kind in kinds:
            schema = of_kind(next(folder.glob(f"*/package/{group}/{kind}.d.ts")))
            (HERE / f"{kind}.json").write_text(
                json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n", "utf-8"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
