"""The report of a load test: ``report.html``, ``report.md``, ``report.json`` and the plots, in one folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orris.errors import MissingExtraError
from orris.loadtest.assertions import Assertion, Finding, judge
from orris.loadtest.comparison import Ratio
from orris.loadtest.documents import PERCENTILES, encode
from orris.loadtest.run import Part, Run
from orris.version import __version__

TEMPLATES = Path(__file__).parent / "templates"
LATENCY_HEADS = ("route", "#answered", "#errors", "#mean ms", *(f"#{name} ms" for name in PERCENTILES), "#max ms")
STEP_HEADS = ("step", "#due a second", "#answered a second", "#errors", "#p50 ms", "#p99 ms", "#p99.9 ms")
FILES = ("report.html", "report.md", "report.json")


def write_report(run: Run, folder: Path, assertions: Sequence[Assertion] = ()) -> list[Finding]:
    """Write a run's report.

    Args:
        run: What was measured.
        folder: Receives ``FILES`` and the plots; made if it does not exist.
        assertions: What the run has to meet.

    Returns:
        What was found for each assertion.

    Raises:
        MissingExtraError: The extra ``load`` is not installed.
    """
    whole = run.whole
    findings = [judge(each, whole) for each in assertions]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_bytes(encode(run, findings))
    try:
        from orris.loadtest.plots import PLOTS, draw  # noqa: PLC0415
        from orris.reporting.pages import embedded, render  # noqa: PLC0415

        drawn = draw(run, folder)
        context = _context(run, findings)
        context["figures"] = [
            {
                "data": embedded(path),
                "file": path.name,
                "title": PLOTS[name].title,
                "meaning": PLOTS[name].meaning,
                "wide": PLOTS[name].wide,
            }
            for name, path in drawn.items()
        ]
        for name in ("report.html", "report.md"):
            (folder / name).write_text(render(TEMPLATES, f"{name}.j2", context), encoding="utf-8")
    except ImportError as error:
        raise MissingExtraError("load", "the report of a load test") from error
    return findings


def _context(run: Run, findings: Sequence[Finding]) -> dict[str, Any]:
    from orris.reporting.pages import heads  # noqa: PLC0415

    whole = run.whole
    return {
        "title": run.model or run.url,
        "summary": summary_words(run),
        "badge": _badge(findings),
        "numbers": _numbers(whole),
        "warnings": warnings_of(run),
        "law": "" if run.littles_law is None else run.littles_law.words,
        "finding_heads": heads("assertion", "#measured", "holds"),
        "findings": [(each.text, each.measured, "yes" if each.passed else "no") for each in findings],
        "latency_heads": heads(*LATENCY_HEADS),
        "latency": latency_rows(run),
        "step_heads": heads(*STEP_HEADS),
        "steps": step_rows(run) if len(run.steps) > 1 else [],
        "error_heads": heads("error", "#requests", "first answer"),
        "errors": [
            (kind, f"{count:,}", run.samples.get(kind, "–"))
            for kind, count in sorted(whole.errors.items(), key=lambda item: -item[1])
        ],
        "pair_heads": heads("what", "value"),
        "settings": _settings(run),
    }


def latency_rows(run: Run) -> list[tuple[str, ...]]:
    """The table of latencies: a line for each route of a mix, and one for all."""
    routes = [_latency_row(route.name, route) for route in run.routes]
    return routes if len(routes) == 1 else [*routes, _latency_row("all", run.whole)]


def step_rows(run: Run) -> list[tuple[str, ...]]:
    """The table of steps: a line for each rate."""
    return [
        (
            f"{number}: {step.seconds:g} s",
            f"{step.per_second:,.5g}",
            f"{part.throughput_per_second:,.1f}",
            f"{part.n_errors:,} ({part.error_share:.1%})",
            *(milliseconds(part.latency.quantile_seconds(quantile)) for quantile in (0.5, 0.99, 0.999)),
        )
        for number, (step, part) in enumerate(run.parts(), 1)
    ]


def comparison_rows(ratios: Sequence[Ratio]) -> list[tuple[str, ...]]:
    """The table of a comparison, with a word on each ratio whose interval does not hold 1."""
    rows: list[tuple[str, ...]] = []
    for each in ratios:
        rate = each.name == "throughput"
        a, b = (f"{value:,.5g}/s" if rate else f"{milliseconds(value)} ms" for value in (each.a, each.b))
        better = (each.ratio > 1) == rate
        word = ("better" if better else "worse") if each.differs else "no difference found"
        rows.append((each.name, a, b, f"{each.ratio:.3f}", f"{each.low:.3f} to {each.high:.3f}", word))
    return rows


def comparison_warnings(a: Run, b: Run) -> list[str]:
    """Why two runs may not be compared as they are."""
    found = [f"the {name} run: {text}" for name, run in (("first", a), ("second", b)) for text in warnings_of(run)]
    for what, left, right in (
        ("loops", a.loop, b.loop),
        ("engines", a.engine, b.engine),
        ("rates", _rates(a), _rates(b)),
        ("routes", _routes(a), _routes(b)),
        ("users", str(a.users), str(b.users)),
        ("connections", str(a.connections), str(b.connections)),
    ):
        if left != right:
            found.append(f"the runs have different {what}: {left} and {right}")
    return found


def _rates(run: Run) -> str:
    return ", ".join(f"{step.per_second:g}/s for {step.seconds:g} s" for step in run.steps) or "none"


def _routes(run: Run) -> str:
    return ", ".join(route.name for route in run.routes)


def summary_words(run: Run) -> str:
    """The run in one sentence."""
    length = f"for {run.whole.seconds:,.4g} s"
    after = f" after {run.warm_up_seconds:g} s of warm-up" if run.warm_up_seconds else ""
    ended = " Ended early; the numbers are of the time until then." if run.interrupted else ""
    if run.loop == "open":
        rates = [f"{step.per_second:,.5g}" for step in run.steps]
        shown = f"{rates[0]} requests a second"
        if len(rates) > 1:
            shown = f"{rates[0]} to {rates[-1]} requests a second in {len(rates)} steps"
        what = f"Open loop: {shown} {length}{after}, over {run.connections} connections."
        return f"{what} Latency counts from when a request was due.{ended}"
    if run.users:
        low, high = run.think_seconds
        think = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
        return f"Closed loop: {run.users:,} users that wait {think} between requests, {length}{after}.{ended}"
    return (
        f"Closed loop: {run.connections:,} connections, each with one request at a time, {length}{after}. While the"
        f" server stalls, a closed loop sends nothing, so its percentiles hide stalls.{ended}"
    )


def warnings_of(run: Run) -> list[str]:
    """Conditions that limit the validity of the numbers."""
    found = []
    if run.driver is not None and run.driver.is_bottleneck:
        found.append(
            f"The driver was the bottleneck, and these numbers are not the server's: {run.driver.reason}. Run the"
            " driver on another machine, lower the rate, or share it between several drivers."
        )
    law = run.littles_law
    if law is not None and law.verdict in {"impossible", "unaccounted"}:
        found.append(f"Little's law: {law.words}")
    if run.driver is not None and run.driver.n_waited > MAX_WAITED_SHARE * max(1, run.whole.offered):
        found.append(
            f"{run.driver.n_waited:,} requests waited for a free connection, and the wait is in their latency: with"
            f" more than {run.connections} connections the server would have had them sooner."
        )
    if run.whole.answered == 0:
        found.append("No request was answered.")
    return found


MAX_WAITED_SHARE = 0.05


def _badge(findings: Sequence[Finding]) -> dict[str, str] | None:
    if not findings:
        return None
    failed = sum(not each.passed for each in findings)
    text = "all assertions hold" if not failed else f"{failed} of {len(findings)} assertions fail"
    return {"text": text, "tone": "bad" if failed else "good", "icon": "❌" if failed else "✅"}


def _numbers(whole: Part) -> list[dict[str, str]]:
    return [
        {"value": f"{whole.throughput_per_second:,.5g}", "title": "answered requests a second"},
        {"value": f"{milliseconds(whole.latency.quantile_seconds(0.5))} ms", "title": "median latency"},
        {"value": f"{milliseconds(whole.latency.quantile_seconds(0.99))} ms", "title": "99th percentile"},
        {"value": f"{milliseconds(whole.latency.quantile_seconds(0.999))} ms", "title": "99.9th percentile"},
        {"value": f"{whole.n_errors:,}", "title": f"errors, {whole.error_share:.2%} of the requests"},
    ]


def _latency_row(name: str, each: Any) -> tuple[str, ...]:
    """A line of the table; of a ``RouteResult`` or of a ``Part``."""
    latency = each.latency
    return (
        name,
        f"{latency.count:,}",
        f"{sum(each.errors.values()):,}",
        milliseconds(latency.mean_seconds),
        *(milliseconds(latency.quantile_seconds(float(percentile[1:]) / 100)) for percentile in PERCENTILES),
        milliseconds(latency.max_seconds) if latency.count else "–",
    )


def milliseconds(seconds: float) -> str:
    """Three digits or more: 0.123, 4.56, 78.9, 1,234."""
    value = seconds * 1e3
    if value != value:  # noqa: PLR0124 (NaN)
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.3f}"


def _settings(run: Run) -> list[tuple[str, str]]:
    sent, received = (sum(getattr(route, key) for route in run.routes) for key in ("sent_bytes", "received_bytes"))
    rows = [
        ("Server", run.url),
        ("Model", run.model or "–"),
        ("Begun", run.started),
        ("Engine", {"asyncio": "Orris (asyncio)", "locust": "Locust", "wrk": "wrk"}[run.engine]),
        ("Mix", ", ".join(route.name for route in run.routes) or "–"),
        ("Bytes sent, received", f"{sent:,}, {received:,}"),
        ("Orris", __version__),
    ]
    if run.unanswered:
        rows.append(("Under way when the run ended", f"{run.unanswered:,}"))
    if run.mean_in_flight is not None:
        rows.append(("Mean requests in flight", f"{run.mean_in_flight:,.4g}"))
    driver = run.driver
    if driver is not None:
        rows.append(("Driver's processor time", f"{driver.cpu_share:.0%} of a core"))
    if driver is not None and run.engine == "asyncio":  # Other engines do not tell.
        rows += [
            (
                "Driver was late by",
                f"{milliseconds(driver.late_p50_seconds)} ms in the median, {milliseconds(driver.late_p99_seconds)} ms"
                " at the 99th percentile",
            ),
            ("Most requests in flight", f"{driver.max_in_flight:,}"),
            ("Waited for a connection", f"{driver.n_waited:,}"),
        ]
    return rows
