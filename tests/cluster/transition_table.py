"""Walks all transitions, and writes what was seen into docs/upgrades.md: ``python -m tests.cluster.transition_table``.

``--results FILE`` keeps the results as JSON; a transition that is in it without a problem is not walked again.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

from tests.cluster.helm import ROOT
from tests.cluster.running import running_cluster
from tests.cluster.transitions import CHART_BEFORE, SCALED, STATED, STATES, State, Transition, every, walk_all

PAGE = ROOT / "docs" / "upgrades.md"
TITLES = {"present": "From this chart to this chart", "before": "From the chart before to this one"}
Key = tuple[State, State, int, str]


def table(transitions: list[Transition], chart: str) -> list[str]:
    """The lines of a table of all ways from a chart; none if nothing was walked."""
    seen = {(each.source, each.target, each.helm): each for each in transitions if each.chart == chart}
    if not seen:
        return []
    lines = [f"### {TITLES[chart]}", "", f"| from \\ to | {' | '.join(str(state) for state in STATES)} |"]
    lines.append(f"|---|{'---|' * len(STATES)}")
    for source in STATES:
        cells = [_cell(seen, source, target) for target in STATES]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return [*lines, ""]


def _cell(seen: dict[tuple[State, State, int], Transition], source: State, target: State) -> str:
    found = [seen[source, target, helm] for helm in (4, 3) if (source, target, helm) in seen]
    if not found:
        return ""
    numbers = " · ".join(str(each.least) if each.kept else "✗" for each in found)
    marks = {
        "②": found[0].upgrades > 1,
        "!": "--force-conflicts" in found[0].flags,
        "↻": any(each.repeated for each in found),
    }
    return " ".join([numbers, *(mark for mark, holds in marks.items() if holds)])


def write_page(transitions: list[Transition], page: Path = PAGE) -> None:
    """Put the tables into the page, between its two marks."""
    walked = [each for each in transitions if each.least >= 0 or each.problem]
    text = page.read_text("utf-8")
    head, _, rest = text.partition("<!-- Written by")
    mark, _, rest = rest.partition("-->\n")
    _, end, tail = rest.partition("<!-- end -->")
    kept = sum(each.kept for each in walked)
    scope = (
        f"{len(walked)} transitions were walked, {kept} of them as promised. Each cell is the least number of ready"
        " endpoints of the service that was seen, at five looks a second, with Helm 4 · Helm 3. ② stands for two"
        " upgrades with `strategy.previous`, ! for `--force-conflicts` with Helm 4, ↻ for an"
        " upgrade that was repeated because an autoscaler had changed the number of pods while Helm was at work."
        " A release without an autoscaler has"
        f" {STATED} pods, one with an autoscaler comes to {SCALED}; every transition also brings a new version of the"
        " pods, and ends with an uninstallation that leaves nothing. ✗ stands for a walk that did not arrive: an"
        " upgrade was refused or in conflict with the autoscaler, and was not repeated, or the number of pods was not"
        " the stated one. A cell with one number was walked with Helm 4 only, an empty one not at all. No release"
        f" has been made yet: the chart before is that of commit `{CHART_BEFORE}`, the last one without the hand-overs"
        " that this page describes."
    )
    lines = [*textwrap.wrap(scope, 120), "", *(line for chart in TITLES for line in table(walked, chart))]
    written = "\n".join(lines)
    page.write_text(f"{head}<!-- Written by{mark}-->\n\n{written}\n{end}{tail}", "utf-8")


def key(each: Transition) -> Key:
    """What makes a transition the one that it is."""
    return each.source, each.target, each.helm, each.chart


def changes(each: Transition) -> tuple[bool, bool, bool]:
    """What sorts transitions: those of this chart first, then the more frequent ones, which change less."""
    strategy = each.source.strategy != each.target.strategy
    return each.chart == "before", strategy, each.source.autoscaler != each.target.autoscaler


def read(results: Path) -> dict[Key, Transition]:
    """The transitions of a file of results that went as promised."""
    kept = {}
    for found in json.loads(results.read_text("utf-8")) if results.exists() else []:
        transition = Transition(**(found | {name: State(**found[name]) for name in ("source", "target")}))
        if transition.kept:
            kept[key(transition)] = transition
    return kept


def main() -> None:
    """Walk the wanted transitions on a cluster of their own, and write the page."""
    parser = argparse.ArgumentParser(
        description="Walk transitions of the chart, and write the table of docs/upgrades.md."
    )
    parser.add_argument("--helm", type=int, choices=(3, 4), action="append", help="versions of Helm; by default both")
    parser.add_argument("--chart", choices=tuple(TITLES), action="append", help="charts to start from; by default both")
    parser.add_argument("--workers", type=int, default=4, help="transitions that are walked at the same time")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "transitions.json", help="the file of results")
    chosen = parser.parse_args()
    before = read(chosen.results)
    wanted = every(tuple(chosen.helm or (4, 3)), tuple(chosen.chart or TITLES))
    missing = sorted((each for each in wanted if key(each) not in before), key=changes)

    def walked() -> None:
        done = [*before.values(), *(each for each in missing if each.seconds)]
        chosen.results.parent.mkdir(parents=True, exist_ok=True)
        chosen.results.write_text(json.dumps([asdict(each) for each in done], indent=1), "utf-8")
        write_page(done)

    if missing:
        with running_cluster() as (cluster, load):
            walk_all(cluster, load, missing, chosen.workers, walked)
    else:
        walked()
    broken = [each for each in missing if not each.kept]
    sys.exit(f"{len(broken)} transitions broke a promise" if broken else 0)


if __name__ == "__main__":
    main()
