"""Turns what ``peers.py`` measured into ``results.json`` and, from that alone, ``results.md``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from measuring import Result

PAGE, NUMBERS = "results.md", "results.json"
TITLES = {
    "one": "One core each, one worker",
    "two": "Both cores, two workers, shared with the client",
    "grpc": "gRPC, one core each",
}
ORRIS, FLOOR, GRPC, GRPC_FLOOR = "Orris", "floor: fixed answer", "Orris (gRPC)", "gRPC floor: fixed bytes"
QUIET_LOAD, LEAST_SECONDS = 0.5, 5

Row = dict[str, Any]


def document(about: dict[str, Any], results: list[Result]) -> dict[str, Any]:
    """All that is known, as it goes into ``results.json``."""
    rows = [{**asdict(result), "rate": round(result.rate, 1), "n_failed": result.n_failed} for result in results]
    return {"about": about, "results": rows}


def write(folder: Path, measured: dict[str, Any]) -> None:
    """Write both files."""
    (folder / NUMBERS).write_text(json.dumps(measured, indent=2) + "\n")
    (folder / PAGE).write_text(page(measured))


def is_ours(row: Row) -> bool:
    """Whether it is Orris or a floor, not a peer."""
    return row["title"].startswith("Orris") or "floor" in row["title"]


def slower(rows: list[Row], title: str) -> float:
    """The lower rate of the measurements before and after the peers; 0 if there is none."""
    return min((row["rate"] for row in rows if row["title"] == title and not row["problem"]), default=0.0)


def shares(rows: list[Row], title: str, floor: str) -> list[float]:
    """What each measurement of ``title`` is of the floor measured beside it, before the peers and after."""
    ours, floors = (
        [row["rate"] for row in rows if row["title"] == each and not row["problem"]] for each in (title, floor)
    )
    return [own / base for own, base in zip(ours, floors, strict=False) if base]


def fastest_peer(rows: list[Row], *, whole: bool = False) -> Row | None:
    """The peer's setup with the highest rate that lost no request.

    If ``whole``, of those whose answer has class and probabilities.
    """
    sound = (
        row
        for row in rows
        if not is_ours(row) and row["rate"] and not row["n_failed"] and not (whole and row["partial"])
    )
    return max(sound, key=lambda row: row["rate"], default=None)


def page(measured: dict[str, Any]) -> str:
    """``results.md``."""
    tables = {name: [row for row in measured["results"] if row["table"] == name] for name in TITLES}
    parts = [
        "# Orris beside other model servers",
        "*Written by `make bench-peers`; do not edit.*",
        _warning(measured["about"]),
    ]
    parts.append(_findings(tables["one"], tables["grpc"]))
    for name, rows in tables.items():
        if rows:
            parts += [f"## {TITLES[name]}", _EXPLAINED[name], _table(rows, grpc=name == "grpc"), _problems(rows)]
    parts += [_many(tables["one"]), _machine(measured["about"])]
    return "\n\n".join(part for part in parts if part) + "\n"


_EXPLAINED = {
    "one": (
        "Iris, `StandardScaler` and `LogisticRegression`, one JSON row in, class and probabilities out. Server on core"
        " 0, `wrk` with 64 connections on core 1. Ratios are to the slower of Orris' two measurements, before and after"
        " all the peers, and to the mean of the floor's two: a fixed answer from a raw ASGI application on the same"
        " uvicorn. Started: from the command to the first right answer. Memory: resident, of all processes, shared"
        " pages counted once."
    ),
    "two": "The same with two workers, on the two cores that `wrk` runs on too.",
    "grpc": (
        "`ModelInfer` of the Open Inference Protocol, one row, class and probabilities asked for; `h2load` with 16"
        " connections and 4 calls at a time on each. The floor: fixed bytes from `grpc.aio`."
    ),
}


def _table(rows: list[Row], *, grpc: bool) -> str:
    head = [
        "server",
        "version",
        "calls/s" if grpc else "requests/s",
        *(["mean"] if grpc else ["p50", "p99", "started"]),
        "memory",
    ]
    orris, floor = slower(rows, GRPC if grpc else ORRIS), _mean(rows, GRPC_FLOOR if grpc else FLOOR)
    head += ["Orris is"] + (["of the floor"] if floor else [])
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    seen: set[str] = set()
    for row in _ordered(rows):
        again = " (again, at the end)" if row["title"] in seen else ""
        seen.add(row["title"])
        lines.append(_line(row, again, len(head), orris, floor))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _line(row: Row, again: str, n_cells: int, orris: float, floor: float) -> list[str]:
    title = f"**{row['title']}**{again}" if is_ours(row) else row["title"]
    if row["problem"]:
        return [title, row["version"], "not measured", *[""] * (n_cells - 3)]
    load, calls, memory = row["load"], row["calls"], row["memory"]
    failed = f" ({row['n_failed']} failed)" if row["n_failed"] else ""
    cells = [title, "" if "floor" in row["title"] else row["version"], f"{row['rate']:,.0f}{failed}"]
    if calls:
        cells.append(_time(calls["mean_milliseconds"]))
    else:
        cells += [_time(load["p50_milliseconds"]), _time(load["p99_milliseconds"]), f"{row['start_seconds']:.1f} s"]
    cells.append(f"{memory['pss']:,.0f} MB")
    cells.append("" if is_ours(row) or not orris else f"{orris / row['rate']:.1f} times as fast")
    if floor:
        cells.append(f"{row['rate'] / floor:.3g}")
    return cells


def _ordered(rows: list[Row]) -> list[Row]:
    """Ours first, then the peers, the fastest first; those without numbers last."""
    return [row for row in rows if is_ours(row)] + sorted(
        (row for row in rows if not is_ours(row)), key=lambda row: -row["rate"]
    )


def _problems(rows: list[Row]) -> str:
    told = [f"- {row['title']}: not measured: {row['problem']}" for row in rows if row["problem"]]
    told += list(dict.fromkeys(f"- {row['title']}: {row['note']}." for row in rows if row["note"]))
    return "\n".join(told)


def _findings(rows: list[Row], grpc: list[Row]) -> str:
    """The ratios that the project aims at, worst case taken."""
    told, best, whole, orris, of_floor = (
        [],
        fastest_peer(rows),
        fastest_peer(rows, whole=True),
        slower(rows, ORRIS),
        shares(rows, ORRIS, FLOOR),
    )
    if of_floor:
        told.append(f"- {orris:,.0f} requests a second on one core; {_both(of_floor)} of the floor.")
    if orris and best:
        less = ", which answers probabilities without the class" if best["partial"] else ""
        told.append(
            f"- {orris / best['rate']:.1f} times the fastest peer's ({best['title']}, {best['rate']:,.0f}{less})."
        )
    if orris and whole and whole is not best:
        told.append(
            f"- {orris / whole['rate']:.1f} times the fastest peer's that answers the same ({whole['title']},"
            f" {whole['rate']:,.0f})."
        )
    v2, forest = slower(rows, "Orris (V2 REST)"), slower(rows, "Orris, forest of 100 trees")
    boosted = slower(rows, "Orris, XGBoost of 100 rounds")
    if v2 and orris:
        told.append(f"- V2 REST: {v2:,.0f} requests a second, {v2 / orris:.2f} of the native route's.")
    if forest:
        told.append(f"- A forest of 100 trees: {forest:,.0f} requests a second.")
    if boosted:
        told.append(f"- XGBoost of 100 rounds: {boosted:,.0f} requests a second.")
    many = min(
        (row["many_rows_per_second"] for row in rows if row["title"] == ORRIS and row["many_rows_per_second"]),
        default=0.0,
    )
    if many and best:
        told.append(
            f"- 1,000 rows in a request: {many:,.0f} rows a second, {many / best['rate']:.0f} times single rows through"
            " the fastest peer."
        )
    ours, calls, beneath = slower(grpc, "Orris (gRPC)"), fastest_peer(grpc), slower(grpc, "gRPC floor: fixed bytes")
    if ours and calls and beneath:
        told.append(
            f"- gRPC: {ours:,.0f} calls a second, {ours / calls['rate']:.1f} times {calls['title']},"
            f" {ours / beneath:.2f} of the floor."
        )
    return "\n".join(told)


def _both(values: list[float]) -> str:
    """The measurements before the peers and after."""
    return " and ".join(f"{value:.2f}" for value in values)


def _mean(rows: list[Row], title: str) -> float:
    rates = [row["rate"] for row in rows if row["title"] == title and not row["problem"]]
    return sum(rates) / len(rates) if rates else 0.0


def _many(rows: list[Row]) -> str:
    chosen = {row["title"]: row for row in rows if row["many_rows_per_second"]}
    if not chosen:
        return ""
    lines = [
        f"| {row['title']} | {row['many_rows_per_second']:,.0f} |"
        for row in sorted(chosen.values(), key=lambda row: -row["many_rows_per_second"])
    ]
    told = "One core, 8 connections; the servers whose request may hold many rows."
    return "\n".join(["## 1,000 rows in a request", "", told, "", "| server | rows/s |", "| --- | ---: |", *lines])


def _warning(about: dict[str, Any]) -> str:
    told = []
    if about["load_average"][0] > QUIET_LOAD:
        told.append(f"other work was running (load average {about['load_average'][0]:.1f} at the start)")
    if about["seconds"] < LEAST_SECONDS:
        told.append(f"a trial of {about['seconds']} s per server")
    return f"> **Not to be quoted**: {'; '.join(told)}." if told else ""


def _machine(about: dict[str, Any]) -> str:
    lines = [
        "## How it was measured",
        "",
        (
            f"- {about['date']}, {about['minutes']} minutes; each: {about['seconds']} s of load after"
            f" {about['warm_up']} s of warm-up"
        ),
        f"- {about['processor']}, {about['cores']} cores; {about['system']}",
        (
            f"- Python {about['python']}; {about['wrk'].partition(' Copyright')[0]}; Orris {about['orris']}, commit"
            f" {about['commit']}"
        ),
    ]
    for name, pins in about["beside"].items():
        lines.append(f"- {name}: {', '.join(f'{package} {version}' for package, version in pins.items())}")
    repeat = "Repeat it with `make bench-peers`; [README.md](README.md) says what each peer is and how it is run."
    return "\n".join([*lines, "", repeat])


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 10 else f"{milliseconds:,.0f} ms"
