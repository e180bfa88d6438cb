"""Reading the Dockerfile: its stages and their instructions."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def instructions(path: Path = ROOT / "Dockerfile") -> list[tuple[str, str]]:
    """Every instruction with its arguments; lines that end with a backslash are joined, comments are left out."""
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    text = re.sub(r"\\\n\s*", "", text)
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def stages(path: Path = ROOT / "Dockerfile") -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, by its name; of what stands before the first, by an empty name."""
    found: dict[str, list[tuple[str, str]]] = {"": []}
    for word, rest in instructions(path):
        if word == "FROM":
            found[rest.rpartition(" AS ")[2]] = []
        list(found.values())[-1].append((word, rest))
    return found


def argument(stage: str, name: str) -> str:
    """The default of a build argument of a stage."""
    values = [rest for word, rest in stages()[stage] if word == "ARG"]
    return next(value.partition("=")[2] for value in values if value.partition("=")[0] == name)
