"""Write the chart's ``values.schema.json`` and ``README.md`` from ``values.yaml``: ``python -m tools.chart_docs``.

A test fails when they are stale.

``values.yaml`` is the one place for a value: its default, what it means (the comment above it), and what it may be: its
default's type, or what a line ``# @schema {…}`` adds; ``# @opaque`` stands above what Kubernetes defines. ``## `` opens
a topic. Keys are indented by two.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[1] / "charts" / "orris"
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
_KEY = re.compile(r"( *)([A-Za-z][\w.]*):(.*)")


@dataclass
class Value:
    """One key of ``values.yaml``, by its path; those of a mapping that is not opaque are values of their own."""

    path: tuple[str, ...]
    default: Any
    topic: str
    text: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    opaque: bool = False

    @property
    def is_branch(self) -> bool:
        """Whether it only holds other values."""
        return isinstance(self.default, dict) and bool(self.default) and not self.opaque and not self.schema


def values(text: str) -> list[Value]:
    """The values of a file, in its order.

    Raises:
        ValueError: A value without a comment.
    """
    defaults = yaml.safe_load(text)
    found: list[Value] = []
    comments: list[str] = []
    topic, skipped = "", -1
    for line in text.splitlines():
        if line.startswith("## "):
            topic = line[3:]
        stripped = line.strip()
        key = _KEY.fullmatch(line)
        if stripped.startswith("#"):
            comments.append(stripped[1:].strip())
        elif not stripped:
            comments = []
        elif key and (skipped < 0 or len(key[1]) <= skipped):
            depth = len(key[1]) // 2
            above = next((each.path for each in reversed(found) if len(each.path) == depth), ()) if depth else ()
            value = _value((*above, key[2]), defaults, topic, comments)
            found.append(value)
            skipped = -1 if value.is_branch else len(key[1])
            comments = []
    missing = [".".join(each.path) for each in found if not each.is_branch and not each.text]
    if missing:
        raise ValueError(f"values without a comment: {', '.join(missing)}")
    return found


def _value(path: tuple[str, ...], defaults: Any, topic: str, comments: list[str]) -> Value:
    default = defaults
    for key in path:
        default = default[key]
    text = " ".join(line for line in comments if not line.startswith("@"))
    patch: dict[str, Any] = {}
    for line in comments:
        if line.startswith("@schema "):
            patch |= json.loads(line.removeprefix("@schema "))
    return Value(path, default, topic, text, patch, "@opaque" in comments)


def schema(found: list[Value]) -> dict[str, Any]:
    """A JSON schema that knows these values and no others."""
    top: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart orris",
        **_closed(),
    }
    # `global` and `enabled` are what Helm itself hands to a chart that is part of another.
    top["properties"]["global"] = {"type": "object"}
    for value in found:
        holder = top
        for key in value.path[:-1]:
            holder = holder["properties"][key]
        holder["properties"][value.path[-1]] = _closed() if value.is_branch else _leaf(value)
    return top


def _closed() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _leaf(value: Value) -> dict[str, Any]:
    kind = {"type": TYPES[type(value.default)]} if "enum" not in value.schema else {}
    if value.schema.get("maximum") == 1 and kind == {"type": "integer"}:
        kind = {"type": "number"}
    return {"description": value.text, **kind, **value.schema}


def page(found: list[Value]) -> str:
    """The values as a page: a table for each topic."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    kubernetes = chart["kubeVersion"].removeprefix(">=").removesuffix(".0-0")
    lines = [
        "<!-- Generated from values.yaml by tools/chart_docs.py: change that, then `python -m tools.chart_docs`. -->",
        f"# The chart {chart['name']}",
        "",
        f"{chart['description']}. Kubernetes {kubernetes} or newer. How to install it, and what was tried where:",
        (
            "`docs/kubernetes.md`. A key that is not here, or a value of another form, is refused before anything is"
            " installed."
        ),
    ]
    topic = ""
    for value in found:
        if value.is_branch:
            continue
        if value.topic != topic:
            topic = value.topic
            lines += ["", f"## {topic}", "", "| value | default | meaning |", "|---|---|---|"]
        allowed = "".join(
            f" One of {', '.join(f'`{each}`' for each in value.schema['enum'])}." if "enum" in value.schema else ""
        )
        meaning = (value.text + allowed).replace("|", "\\|")
        lines.append(f"| `{'.'.join(value.path)}` | {_default(value)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default(value: Value) -> str:
    if value.default in ("", [], {}):
        return ""
    text = json.dumps(value.default) if not isinstance(value.default, str) else value.default
    return f"`{text}`" if len(text) <= 80 else "see values.yaml"


def written() -> dict[Path, str]:
    """What each generated file has to hold."""
    found = values((CHART / "values.yaml").read_text("utf-8"))
    return {
        CHART / "values.schema.json": json.dumps(schema(found), indent=2, ensure_ascii=False) + "\n",
        CHART / "README.md": page(found),
    }


def main() -> None:
    """Write the files."""
    for file, content in written().items():
        file.write_text(content, "utf-8")
        print(f"wrote {file.relative_to(CHART.parents[1])}")


if __name__ == "__main__":
    main()
