"""Draws which room of ``src/orris`` imports which: ``docs/images/modules.svg`` (``python -m tools.module_graph``).

grimp, the library below import-linter, reads the imports, those inside functions included. An arrow that follows from
others is left out (the transitive reduction), and so are the modules that every room may use: the picture shows the
steps by which data flows down.
"""

from __future__ import annotations

import sys
from graphlib import TopologicalSorter
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "modules.svg"
EVERYWHERE = {"", "__main__", "atomic", "errors", "version"}
WIDTH, BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT, BEND_WIDTH = 1000, 116, 34, 80, 40
STYLE = (
    ".room{fill:#f8fafc;stroke:#1d4ed8}.name{fill:#0f172a;font-weight:600}"
    ".edge{stroke:#64748b;fill:none;stroke-width:1.4}"
    "@media (prefers-color-scheme:dark){.room{fill:#111827;stroke:#60a5fa}.name{fill:#f1f5f9}}"
)

Edges = dict[str, set[str]]


def module_imports() -> Edges:
    """Every module of Orris, and the modules of Orris that it imports, also inside functions."""
    graph = grimp.build_graph("orris")
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def room_of(module: str) -> str:
    """The folder or single module directly below ``orris`` that a module belongs to; empty for ``orris`` itself."""
    return module.partition(".")[2].partition(".")[0]


def room_imports(modules: Edges) -> Edges:
    """Every room but ``EVERYWHERE``, and the other rooms that it imports."""
    rooms: Edges = {room_of(module): set() for module in modules if room_of(module) not in EVERYWHERE}
    for module, imported in modules.items():
        if room_of(module) in rooms:
            rooms[room_of(module)] |= {room_of(other) for other in imported} & rooms.keys() - {room_of(module)}
    return rooms


def reduction(edges: Edges) -> Edges:
    """The same graph without the edges that a longer path implies.

    Raises:
        graphlib.CycleError: The graph has a circle.
    """
    reachable: Edges = {}
    reduced: Edges = {}
    for node in TopologicalSorter(edges).static_order():
        implied = set().union(*(reachable[other] for other in edges[node]))
        reduced[node] = edges[node] - implied
        reachable[node] = implied | edges[node]
    return reduced


def rows_of(edges: Edges) -> list[list[str]]:
    """The nodes by their height, which is the length of the longest path down from them; the highest row first."""
    height: dict[str, int] = {}
    for node in TopologicalSorter(edges).static_order():
        height[node] = 1 + max((height[other] for other in edges[node]), default=-1)
    return [sorted(n for n in height if height[n] == level) for level in range(max(height.values()), -1, -1)]


def bend(edges: Edges, rows: list[list[str]]) -> Edges:
    """Give an arrow that crosses rows a bend in each of them; ``rows`` gains the bends, which are named ``a>b@row``."""
    row = {node: i for i, nodes in enumerate(rows) for node in nodes}
    bent: Edges = {node: set() for node in edges}
    for node in sorted(edges):
        for other in sorted(edges[node]):
            last = node
            for level in range(row[node] + 1, row[other]):
                point = f"{node}>{other}@{level}"
                rows[level].append(point)
                bent[last].add(point)
                bent[point] = set()
                last = point
            bent[last].add(other)
    return bent


def positions(edges: Edges, rows: list[list[str]]) -> dict[str, float]:
    """The horizontal middle of each node; each row is ordered by the mean position of its neighbours."""
    above: Edges = {node: {other for other in edges if node in edges[other]} for node in edges}
    x: dict[str, float] = {}

    def place(row: list[str]) -> None:
        widths = [BEND_WIDTH if "@" in node else BOX_WIDTH for node in row]
        gap = (WIDTH - sum(widths)) / (len(row) + 1)
        left = gap
        for node, width in zip(row, widths, strict=True):
            x[node] = left + width / 2
            left += width + gap

    for row in rows:
        place(row)
    for sweep in range(24):
        neighbours = above if sweep % 2 == 0 else edges
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = [sum(x[o] for o in neighbours[n]) / len(neighbours[n]) if neighbours[n] else x[n] for n in row]
            row[:] = [node for _, node in sorted(zip(wanted, row, strict=True))]
            place(row)
    return x


def drawing(modules: Edges) -> str:
    """The picture as SVG, the same for the same imports."""
    rooms = reduction(room_imports(modules))
    rows = rows_of(rooms)
    edges = bend(rooms, rows)
    x = positions(edges, rows)
    top = {node: 20 + i * ROW_HEIGHT for i, nodes in enumerate(rows) for node in nodes}
    height = 40 + (len(rows) - 1) * ROW_HEIGHT + BOX_HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="14">',
        '<title id="t">Which room of src/orris imports which: every arrow points down</title>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="#64748b"/></marker></defs>',
    ]
    for node in sorted(edges):
        for other in sorted(edges[node]):
            start = top[node] + (BOX_HEIGHT / 2 if "@" in node else BOX_HEIGHT)
            end = top[other] + (BOX_HEIGHT / 2 if "@" in other else -1)
            half = (start + end) / 2
            arrow = "" if "@" in other else ' marker-end="url(#a)"'
            lines.append(
                f'<path class="edge" d="M{x[node]:.1f} {start:.1f}C{x[node]:.1f} {half:.1f} '
                f'{x[other]:.1f} {half:.1f} {x[other]:.1f} {end:.1f}"{arrow}/>'
            )
    for room in sorted(rooms):
        lines.append(
            f'<rect class="room" x="{x[room] - BOX_WIDTH / 2:.1f}" y="{top[room]}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="7"/>'
            f'<text class="name" x="{x[room]:.1f}" y="{top[room] + 22}" text-anchor="middle">{escape(room)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(drawing(module_imports()), "utf-8")
    sys.stdout.write(f"Wrote {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}\n")
