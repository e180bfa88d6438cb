"""Write ``observability/dashboards/*.json``, or with ``--check`` say which of them are not what the code makes."""

from __future__ import annotations

import sys
from pathlib import Path

from tools.dashboards import fleet, quality, serving
from tools.dashboards.frame import render

FOLDER = Path(__file__).parents[2] / "observability" / "dashboards"


def made() -> dict[str, str]:
    """The content of each file, by name."""
    return {board.file_name: render(board) for board in (serving.board(), quality.board(), fleet.board())}


def stale() -> list[str]:
    """Files that differ from what the code makes, are missing, or are too many."""
    wanted = made()
    there = {path.name: path.read_text("utf-8") for path in FOLDER.glob("*.json")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(*arguments: str) -> int:
    """Write the files; returns the exit code."""
    if "--check" in arguments:
        found = stale()
        print("\n".join(f"{name} is stale: python -m tools.dashboards" for name in found))
        return int(bool(found))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in made().items():
        (FOLDER / name).write_text(content, "utf-8")
        print(f"observability/dashboards/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
