"""Copy alerts and dashboards into the chart, which reads only what is below it: ``python -m tools.chart_files``.

A test fails when they are stale.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIES = {
    ROOT / "observability" / "alerts": ("*.yaml", ROOT / "charts" / "orris" / "files" / "alerts"),
    ROOT / "observability" / "dashboards": ("*.json", ROOT / "charts" / "orris" / "files" / "dashboards"),
}


def differences() -> list[str]:
    """Files that are on one side only, or differ."""
    found = []
    for source, (pattern, target) in COPIES.items():
        names = {file.name for folder in (source, target) for file in folder.glob(pattern)}
        sides = ((name, source / name, target / name) for name in sorted(names))
        found += [
            name
            for name, here, there in sides
            if not (here.exists() and there.exists()) or here.read_bytes() != there.read_bytes()
        ]
    return found


def main() -> None:
    """Make the copies, and remove those of what is gone."""
    for source, (pattern, target) in COPIES.items():
        target.mkdir(parents=True, exist_ok=True)
        for file in target.glob(pattern):
            if not (source / file.name).exists():
                file.unlink()
        for file in sorted(source.glob(pattern)):
            (target / file.name).write_bytes(file.read_bytes())
            print(f"wrote {(target / file.name).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
