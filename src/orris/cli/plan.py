"""``orris plan``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orris.cli.requests import HeaderOption, RowsOption, RowsPerRequestOption, parse_headers, parse_mix
from orris.cli.terminal import JsonOption, StoreOption, print_json, print_table, say, store_url, tell

if TYPE_CHECKING:
    from orris.capacity import Measurements, Plan, Point

EXAMPLES = (
    "Examples:  orris plan iris --p99 20ms --peak 5000 --price 0.04   ·   orris plan http://localhost:8000 --p99 50ms"
)


def plan(
    model: Annotated[
        str,
        typer.Argument(metavar="URL|MODEL", help="One running replica, or a model to serve: as orris serve takes it"),
    ],
    p99: Annotated[
        str,
        typer.Option(metavar="TIME", help="Latency objective of 99 % of the requests, such as 20ms [default: none]"),
    ] = "",
    cpus: Annotated[
        float, typer.Option(help="Of a MODEL: processors that the replica may use, such as 0.5 or 2", min=0.05)
    ] = 1.0,
    workers: Annotated[str, typer.Option(metavar="N|auto", help="Of a MODEL: its processes")] = "1",
    threads: Annotated[str, typer.Option(metavar="N|auto", help="Of a MODEL: threads for one call of the model")] = "1",
    expected: Annotated[float, typer.Option(help="Requests a second that are usual", min=0)] = 0.0,
    peak: Annotated[float, typer.Option(help="Requests a second at most", min=0)] = 0.0,
    zones: Annotated[int, typer.Option(help="Zones that replicas are spread over; one may be lost", min=1)] = 3,
    headroom: Annotated[float, typer.Option(help="Share of a replica's rate that is kept free", min=0, max=0.95)] = 0.2,
    price: Annotated[float | None, typer.Option(help="Price of a processor for an hour", min=0)] = None,
    scaler: Annotated[str, typer.Option(metavar="hpa|keda|none", help="Autoscaler of the values file")] = "hpa",
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="native, v1, v2 …, as NAME or NAME=WEIGHT; may be repeated [default: native]"),
    ] = None,
    rows: RowsOption = None,
    rows_per_request: RowsPerRequestOption = 1,
    header: HeaderOption = None,
    connections: Annotated[int, typer.Option(help="Connections to the server", min=1)] = 128,
    seconds: Annotated[float, typer.Option(help="How long each rate is held", min=0.2)] = 5.0,
    first_rate: Annotated[
        float | None,
        typer.Option(help="Requests a second to begin with [default: 50, or an eighth of --max-rate]", min=1),
    ] = None,
    max_rate: Annotated[
        float | None, typer.Option(help="Most requests a second [default: until it is too much]", min=1)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write plan.html, plan.md, plan.json and values.yaml there")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how much one replica takes, and derive requests, replicas, autoscaler and cost from it.

    The rate of an open loop rises until latency departs. Ctrl-C ends it early and keeps what was measured. Drive
    servers of your own only. A URL is measured as it runs; a MODEL is served for the measurement, as the options that
    begin with "Of a MODEL" say.
    """
    from math import inf  # noqa: PLC0415

    from orris.capacity import Demand, make_plan, measure_model, measure_url, write_plan  # noqa: PLC0415
    from orris.serving.processes.cpus import auto_threads, auto_workers  # noqa: PLC0415

    if scaler not in {"hpa", "keda", "none"}:
        raise typer.BadParameter(f"--scaler {scaler}: it is hpa, keda or none")
    demand = Demand(
        _seconds(p99) if p99 else inf, expected, peak, zones, headroom, float("nan") if price is None else price
    )
    sending: dict[str, Any] = {
        "mix": parse_mix("--protocol", protocol) if protocol else None,
        "rows": rows,
        "rows_per_request": rows_per_request,
        "seconds_each": seconds,
        **_rates(first_rate, max_rate),
        "connections": connections,
        "on_point": _tell_point,
    }
    if model.startswith(("http://", "https://")):
        measured = measure_url(model, headers=parse_headers(header or []), **sending)
        n_workers, n_threads, quota = 1, 1, float("nan")
    else:
        n_workers = auto_workers(cpus) if workers == "auto" else _count("--workers", workers)
        n_threads = auto_threads(cpus, n_workers) if threads == "auto" else _count("--threads", threads)
        quota = cpus
        measured = measure_model(model, cpus, store=store_url(store), workers=n_workers, threads=n_threads, **sending)
    try:
        found = make_plan(measured, demand, cpus=quota, workers=n_workers, threads=n_threads)
    except Exception:
        _print(measured, None, as_json)
        raise
    files = write_plan(found, output, scaler) if output is not None else []
    _print(measured, found, as_json)
    for file in files:
        tell(f"wrote {file}")


def _print(measured: Measurements, found: Plan | None, as_json: bool) -> None:
    from orris.capacity import document, lines_of, warnings_of  # noqa: PLC0415
    from orris.capacity.report import HEADS, point_rows  # noqa: PLC0415

    if as_json:
        print_json(document(measured, found))
        return
    heads = [head.removeprefix("#") for head in HEADS]
    print_table(heads, point_rows(measured, found), title=f"{measured.model}: what was measured")
    for condition in measured.conditions:
        say(f"- {condition}")
    if found is None:
        return
    print_table(
        ("number", "value", "why"), [(line.name, line.value, line.reason) for line in lines_of(found)], title="The plan"
    )
    for warning in warnings_of(found):
        tell(f"warning: {warning}")


def _tell_point(point: Point) -> None:
    from orris.capacity.reasons import milliseconds, rate  # noqa: PLC0415

    failed = f", {point.error_share:.1%} failed" if point.errors else ""
    limited = f" (the driver is the limit: {point.driver_limited})" if point.driver_limited else ""
    tell(
        f"… {rate(point.offered_per_second)} sent, {rate(point.answered_per_second)} answered, 99th percentile"
        f" {milliseconds(point.p99_seconds)}{failed}{limited}"
    )


def _rates(first: float | None, most: float | None) -> dict[str, float]:
    """The first and the highest rate, which leave room for as many rates as a fit needs."""
    from math import inf  # noqa: PLC0415

    from orris.capacity.measuring import FIRST_PER_SECOND  # noqa: PLC0415
    from orris.capacity.scalability import MIN_POINTS  # noqa: PLC0415

    highest = inf if most is None else most
    lowest = max(1.0, min(FIRST_PER_SECOND, highest / 2 ** (MIN_POINTS - 1))) if first is None else first
    if highest <= lowest * 2 ** (MIN_POINTS - 2):
        raise typer.BadParameter(
            f"--max-rate {highest:g}: from {lowest:g} requests a second on, each twice the one before, there are fewer"
            f" than {MIN_POINTS} rates up to it, and a plan needs {MIN_POINTS}: begin lower with --first-rate, or raise"
            f" --max-rate above {lowest * 2 ** (MIN_POINTS - 2):g}"
        )
    return {"first_per_second": lowest, "max_per_second": highest}


def _seconds(text: str) -> float:
    """``20ms``, ``0.2s`` or ``0.2`` in seconds."""
    found = re.fullmatch(r"([0-9]*\.?[0-9]+) ?(us|ms|s|)", text.strip())
    if found is None:
        raise typer.BadParameter(f"--p99 {text}: a time is a number and a unit, such as 20ms or 0.5s")
    return float(found.group(1)) * {"us": 1e-6, "ms": 1e-3}.get(found.group(2), 1.0)


def _count(flag: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise typer.BadParameter(f"{flag} {text}: it is a number from 1 on, or auto")
    return int(text)
