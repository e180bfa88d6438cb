"""A run of the tests as Markdown, for the job's summary and the pull request.

Also when it was red, and when it never came to the tests.

``python tools/ci_report.py --title Tests --junit build/junit.xml --log build/ci.log --output build/report/tests.md``
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

LONGEST = 20_000
"""Characters of a report; a comment on GitHub holds 65,536, and several reports go into one."""
_FAILURES, _SLOWEST, _LOG_LINES = 20, 5, 40
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass
class Run:
    """What a JUnit file says: counts, failures with what they say, seconds by test."""

    passed: int = 0
    skipped: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[tuple[float, str]] = field(default_factory=list)


def read_junit(path: Path) -> Run | None:
    """The run, or ``None``: no such file, or not a whole one. The file is our own, written in the same job."""
    try:
        root = ET.parse(path).getroot()  # noqa: S314
    except (OSError, ET.ParseError):
        return None
    run = Run()
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '').replace('.', '/')}::{case.get('name', '')}"
        bad = case.find("failure") if case.find("failure") is not None else case.find("error")
        run.seconds.append((float(case.get("time", "0")), name))
        if bad is not None:
            run.failures.append((name, (bad.text or bad.get("message") or "").strip()))
        elif case.find("skipped") is not None:
            run.skipped += 1
        else:
            run.passed += 1
    return run


def fenced(text: str) -> str:
    """A block of text that cannot end early, whatever is in it, and that mentions nobody."""
    text = _ANSI.sub("", text)
    longest = max((len(ticks) for ticks in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def code(text: str) -> str:
    """Text as code within a line."""
    return f"`{text.replace('`', chr(39)).replace('|', '¦')}`"


def report(title: str, run: Run | None, log: str) -> str:
    """The Markdown."""
    tail = "\n".join(log.splitlines()[-_LOG_LINES:])
    if run is None or not (run.passed or run.failures):
        parts = [f"## ❌ {title}: it ended before any test", *([fenced(tail)] if tail else [])]
        return "\n\n".join(parts)[:LONGEST] + "\n"
    counts = f"{run.passed} passed, {len(run.failures)} failed" + (f", {run.skipped} skipped" if run.skipped else "")
    parts = [f"## {'❌' if run.failures else '✅'} {title}: {counts}"]
    for name, text in run.failures[:_FAILURES]:
        body = fenced("\n".join(text.splitlines()[-25:])[:1500])
        parts.append(f"<details><summary>{escaped(name)}</summary>\n\n{body}\n\n</details>")
    if len(run.failures) > _FAILURES:
        parts.append(f"… and {len(run.failures) - _FAILURES} more.")
    slowest = sorted(run.seconds, reverse=True)[:_SLOWEST]
    parts.append(
        "| slowest tests | seconds |\n|---|---:|\n"
        + "\n".join(f"| {code(name)} | {seconds:.1f} |" for seconds, name in slowest)
    )
    text = "\n\n".join(parts)
    return (text if len(text) <= LONGEST else text[:LONGEST] + "\n\n… cut off") + "\n"


def escaped(text: str) -> str:
    """Text within HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def main(arguments: list[str]) -> int:
    """Write the report; always 0: the job is red by what it reports on, not by reporting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--title", required=True)
    parser.add_argument("--junit", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    log = given.log.read_text("utf-8", errors="replace") if given.log and given.log.is_file() else ""
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(report(given.title, read_junit(given.junit), log), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
