"""Latency beyond the knee, with overload refused by the time in the queue and without.

A server on one core gets requests at random times (an open loop) from a driver on another. First its knee is measured,
as ``orris plan`` does, and the 99th percentile there. Then it gets the rate of the knee, twice that, and 1.5 and 2
times its capacity: with ``ORRIS_MAX_QUEUE_SECONDS`` off, and set to the 99th percentile at the knee. Answered requests
are counted apart from refused ones. Requests have several rows (``--rows``), so that the driver can send twice what the
server answers.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import harness

from orris.capacity import Scalability, measure
from orris.loadtest import Arrivals, Run, drive, prepare

CONNECTIONS = 2_000
"""More than the requests that wait in a server which refuses; if all are busy, requests wait in the driver."""


class Row(NamedTuple):
    """What was measured at a rate."""

    setting: str
    rate: float
    of_knee: float
    of_capacity: float
    answered_per_second: float
    refused_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    limited: str


def knee(url: str, n_rows: int, seconds: float) -> Scalability:
    """The law of a server."""
    found = measure(prepare(url, rows_per_request=n_rows), seconds_each=seconds, connections=CONNECTIONS)
    clean = found.clean
    return Scalability.fitted([p.answered_per_second for p in clean], [p.mean_seconds for p in clean])


def at(url: str, rate: float, n_rows: int, seconds: float) -> Run:
    """What a rate gives, behind a second to warm up."""
    target = prepare(url, rows_per_request=n_rows)
    return drive(target, Arrivals.constant(rate, seconds, poisson=True), connections=CONNECTIONS, warm_up_seconds=1.0)


def row(setting: str, run: Run, rate: float, law: Scalability) -> Row:
    """A line of the table."""
    whole = run.whole
    refused = whole.errors.get("HTTP 503", 0) / whole.seconds
    return Row(
        setting,
        rate,
        rate / law.knee_per_second,
        rate / law.capacity_per_second,
        whole.throughput_per_second,
        refused,
        whole.latency.quantile_seconds(0.5) * 1e3,
        whole.latency.quantile_seconds(0.99) * 1e3,
        run.driver.reason if run.driver is not None else "",
    )


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = harness.arguments(__doc__ or "")
    parser.add_argument("--model", default="forest", help="preset of orris train [default: forest]")
    parser.add_argument("--rows", type=int, default=50, help="rows of each request [default: 50]")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds of each rate [default: 10]")
    asked = parser.parse_args()
    harness.require_tools()
    os.sched_setaffinity(0, {harness.CLIENT_CORE})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        harness.orris(
            "train", "--model", asked.model, "--name", "iris", "--version", "1.0.0", "--store", "s", folder=folder
        )
        command: list[str | Path] = [
            harness.ORRIS,
            "serve",
            "iris",
            "--store",
            "s",
            "--port",
            "0",
            "--grpc-port",
            "off",
        ]
        off = {"ORRIS_MAX_QUEUE_SECONDS": "0"}
        with harness.serving(command, folder, harness.SERVER_CORE, off) as server:
            law = knee(server.url, asked.rows, asked.seconds / 2)
            rates = [law.knee_per_second * n for n in (1, 2)] + [law.capacity_per_second * n for n in (1.5, 2)]
            rows += [row("off", at(server.url, rate, asked.rows, asked.seconds), rate, law) for rate in rates]
        longest = rows[0].p99_milliseconds / 1e3
        setting = {"ORRIS_MAX_QUEUE_SECONDS": f"{longest:.4f}"}
        with harness.serving(command, folder, harness.SERVER_CORE, setting) as server:
            rows += [
                row(f"{longest * 1e3:.1f} ms", at(server.url, rate, asked.rows, asked.seconds), rate, law)
                for rate in rates
            ]
    print(f"knee {law.knee_per_second:,.0f}/s, capacity {law.capacity_per_second:,.0f}/s, fit within {law.error:.0%}\n")
    head = (
        "setting",
        "sent/s",
        "of the knee",
        "of the capacity",
        "answered/s",
        "refused/s",
        "p50",
        "p99",
        "p99 of knee's",
    )
    harness.print_table(
        head,
        [
            (
                each.setting,
                f"{each.rate:,.0f}",
                f"{each.of_knee:.2f}",
                f"{each.of_capacity:.2f}",
                f"{each.answered_per_second:,.0f}",
                f"{each.refused_per_second:,.0f}",
                f"{each.p50_milliseconds:.1f} ms",
                f"{each.p99_milliseconds:.1f} ms",
                f"{each.p99_milliseconds / rows[0].p99_milliseconds:.2f}",
            )
            for each in rows
        ],
    )
    for each in rows:
        if each.limited:
            print(f"at {each.rate:,.0f}/s the driver was the limit: {each.limited}", file=sys.stderr)
    harness.write_json(asked.json, {"law": law, "rows": [each._asdict() for each in rows]})


if __name__ == "__main__":
    main()
