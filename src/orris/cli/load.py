"""``orris load``: drives a server and reports what it measured, or compares two reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orris.cli.requests import HeaderOption, RowsOption, RowsPerRequestOption, parse_headers, parse_mix
from orris.cli.terminal import JsonOption, print_json, print_table, say, tell
from orris.errors import SettingsError

if TYPE_CHECKING:
    from orris.loadtest import Run
    from orris.loadtest.assertions import Assertion, Finding
    from orris.loadtest.target import Target

EXAMPLES = (
    "Examples:  orris load http://localhost:8000 --rate 500 --seconds 30 --assert 'p99<20ms' --assert 'errors==0'"
    "   ·   orris load http://localhost:8000 --rate 500,1000,2000 --report before"
    "   ·   orris load http://localhost:8000 --users 100 --think 1..2"
    "   ·   orris load http://localhost:8000 --connections 100 --engine wrk"
    "   ·   orris load compare before after"
)
DEFAULT_RATE, DEFAULT_SECONDS, DEFAULT_CONNECTIONS = "100", 10.0, 64


def load(
    what: Annotated[
        list[str],
        typer.Argument(metavar="URL | compare A B", help="The server; or two reports, whose numbers are compared."),
    ],
    rate: Annotated[
        str | None,
        typer.Option(
            help=f"Open loop: requests a second; several (100,200,400) follow one another, each for --seconds"
            f" [default: {DEFAULT_RATE}]"
        ),
    ] = None,
    poisson: Annotated[
        bool, typer.Option("--poisson", help="Random gaps between requests, as of many independent callers.")
    ] = False,
    users: Annotated[
        int | None, typer.Option(min=1, help="Closed loop: users that wait for each answer, by Locust.")
    ] = None,
    think: Annotated[
        str, typer.Option(help="Seconds that a user waits before the next request: 1.5, or 1..2.")
    ] = "1..2",
    connections: Annotated[
        int | None, typer.Option(min=1, help="Connections to the server [default: 64]; with --engine wrk, all busy.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="asyncio (open loop), locust or wrk (closed loops); auto: by the other options.")
    ] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes of Locust, or threads of wrk.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long; of several rates, each.")] = DEFAULT_SECONDS,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before it that are not counted.")] = 2.0,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds after which a request has failed.")] = 10.0,
    mix: Annotated[
        str, typer.Option(help="Protocols with weights: native=3,features=1,instances=1,v1=1,v2=1,v2-binary=1,grpc=1.")
    ] = "native",
    model: Annotated[str, typer.Option(help="Name of the model [default: the server's default model].")] = "",
    rows: RowsOption = None,
    rows_per_request: RowsPerRequestOption = 1,
    body: Annotated[
        Path | None, typer.Option(help="File that is sent as it is, to --path: for a server that is no Orris.")
    ] = None,
    path: Annotated[str, typer.Option(help="Route for --body.")] = "/predict",
    header: HeaderOption = None,
    api_key: Annotated[
        str, typer.Option(envvar="LOADTEST_API_KEY", help="Sent as a bearer token.", show_envvar=True)
    ] = "",
    grpc: Annotated[str, typer.Option(help="HOST:PORT for gRPC [default: the URL's host, port 8001]")] = "",
    ca: Annotated[Path | None, typer.Option(help="Certificates that may sign the server's, PEM.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for report.html, report.md, report.json and the plots.")
    ] = None,
    assertions: Annotated[
        list[str] | None,
        typer.Option("--assert", help="What must hold, or the exit code is 1: 'p99<20ms', 'errors==0'; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of drawn rows, their order, and random gaps.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Load a server at a rate or by users, and report throughput, latency and errors.

    An open loop (--rate) starts requests when they are due and counts latency from then, so that a stall shows. A
    closed loop (--users, or --engine wrk) waits for answers, as people do. Ctrl-C ends the run and keeps what was
    measured. `orris load compare A B` compares two reports: ratios with 95 % intervals, from a bootstrap over slices
    of time.
    """
    if what[0] == "compare":
        _compare(what[1:], as_json=as_json)
        return
    if len(what) != 1:
        raise typer.BadParameter(f"one URL is needed, and {what[1]} is another")
    from orris.loadtest.assertions import parse_assertion  # noqa: PLC0415

    parsed = [parse_assertion(text) for text in assertions or []]
    chosen = _engine(engine, rate, users)
    rates, thinks, weights = _rates(rate or DEFAULT_RATE), _range(think), parse_mix("--mix", mix.split(","))
    headers = parse_headers(header or [], api_key)
    target = _target(what[0], body, path, headers, weights, model, rows, rows_per_request, grpc, ca, seed)
    run = _run(
        target,
        chosen,
        rates,
        thinks,
        users,
        connections,
        workers,
        seconds,
        warm_up,
        timeout,
        poisson=poisson,
        seed=seed,
    )
    _finish(run, parsed, report, as_json=as_json)


def _engine(engine: str, rate: str | None, users: int | None) -> str:
    if engine not in {"auto", "asyncio", "locust", "wrk"}:
        raise SettingsError(f"--engine {engine}: there are asyncio, locust, wrk and auto")
    if rate and users:
        raise SettingsError("--rate is an open loop and --users a closed one: give one of them")
    if engine == "auto":
        return "locust" if users else "asyncio"
    if engine == "asyncio" and users:
        raise SettingsError("--users is a closed loop, which Locust runs: leave --engine out")
    if engine == "locust" and not users:
        raise SettingsError("--engine locust needs --users")
    if engine == "wrk" and (users or rate):
        raise SettingsError("--engine wrk keeps --connections busy: it takes neither --rate nor --users")
    return engine


def _rates(text: str) -> list[float]:
    try:
        rates = [float(each) for each in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(0 < each < float("inf") for each in rates):
        raise SettingsError(f"--rate {text}: a number above 0 is needed, or several as in 100,200,400")
    return rates


def _range(text: str) -> tuple[float, float]:
    low, dots, high = text.partition("..")
    try:
        ends = float(low), float(high if dots else low)
    except ValueError:
        ends = (-1.0, -1.0)
    if not 0 <= ends[0] <= ends[1] < float("inf"):
        raise SettingsError(f"--think {text}: seconds are needed, such as 1.5, or a range such as 1..2")
    return ends


def _target(
    url: str,
    body: Path | None,
    path: str,
    headers: dict[str, str],
    mix: dict[str, float],
    model: str,
    rows: Path | None,
    rows_per_request: int,
    grpc: str,
    ca: Path | None,
    seed: int,
) -> Target:
    from orris.loadtest import prepare, target_of  # noqa: PLC0415

    if body is not None:
        try:
            content = body.read_bytes()
        except OSError as error:
            raise SettingsError(f"--body {body}: {error.strerror}") from error
        return target_of(url, [content], path=path, headers=headers)
    return prepare(
        url,
        mix=mix,
        model=model,
        rows=rows,
        rows_per_request=rows_per_request,
        headers=headers,
        grpc_address=grpc,
        tls_ca=ca,
        seed=seed,
    )


def _run(
    target: Target,
    engine: str,
    rates: list[float],
    think: tuple[float, float],
    users: int | None,
    connections: int | None,
    workers: int,
    seconds: float,
    warm_up: float,
    timeout: float,
    *,
    poisson: bool,
    seed: int,
) -> Run:
    from orris.cli.load_view import watching  # noqa: PLC0415
    from orris.loadtest import Arrivals, drive  # noqa: PLC0415

    total = seconds * (len(rates) if engine == "asyncio" else 1)
    slice_seconds = min(1.0, max(0.1, total / 30))
    with watching(target, total, warm_up) as seen:
        if engine == "wrk":
            from orris.loadtest.engines.wrk import run_wrk  # noqa: PLC0415

            return run_wrk(
                target,
                connections=connections or DEFAULT_CONNECTIONS,
                seconds=seconds,
                warm_up_seconds=warm_up,
                threads=workers,
                timeout_seconds=timeout,
                on_slice=seen,
            )
        if engine == "locust":
            from orris.loadtest.engines.locust import run_locust  # noqa: PLC0415

            return run_locust(
                target,
                users=users or 1,
                think_seconds=think,
                seconds=seconds,
                warm_up_seconds=warm_up,
                processes=workers,
                timeout_seconds=timeout,
                slice_seconds=slice_seconds,
                on_slice=seen,
            )
        return drive(
            target,
            Arrivals.stepped(rates, seconds, poisson=poisson, seed=seed),
            connections=connections or DEFAULT_CONNECTIONS,
            warm_up_seconds=warm_up,
            timeout_seconds=timeout,
            slice_seconds=slice_seconds,
            on_slice=seen,
            seed=seed,
        )


def _finish(run: Run, assertions: list[Assertion], report: Path | None, *, as_json: bool) -> None:
    from orris.loadtest.assertions import judge  # noqa: PLC0415
    from orris.loadtest.report import warnings_of, write_report  # noqa: PLC0415

    findings = write_report(run, report, assertions) if report else [judge(each, run.whole) for each in assertions]
    if as_json:
        from orris.loadtest.documents import summary  # noqa: PLC0415

        print_json(
            {
                "url": run.url,
                "model": run.model,
                "engine": run.engine,
                "interrupted": run.interrupted,
                **summary(run.whole),
                "warnings": warnings_of(run),
                "assertions": findings,
            }
        )
    else:
        _print(run, findings)
    if report:
        tell(f"Report: {report / 'report.html'}")
    if not all(each.passed for each in findings):
        raise typer.Exit(1)


def _print(run: Run, findings: list[Finding]) -> None:
    from orris.loadtest.report import LATENCY_HEADS, STEP_HEADS, latency_rows, step_rows, summary_words, warnings_of  # noqa: PLC0415

    whole = run.whole
    say(f"{run.model or run.url}. {summary_words(run)}")
    say(
        f"{whole.throughput_per_second:,.1f} answered requests a second; {whole.answered:,} answered,"
        f" {whole.n_errors:,} failed ({whole.error_share:.2%})"
    )
    print_table([head.removeprefix("#") for head in LATENCY_HEADS], latency_rows(run))
    if len(run.steps) > 1:
        print_table([head.removeprefix("#") for head in STEP_HEADS], step_rows(run))
    for kind, count in sorted(whole.errors.items(), key=lambda item: -item[1]):
        said = run.samples.get(kind)
        say(f"{count:,} × {kind}{f': {said}' if said else ''}")
    for finding in findings:
        say(f"{'✓' if finding.passed else '✗'} {finding.text}   ({finding.measured})")
    if run.littles_law is not None and run.littles_law.verdict == "consistent":
        say(f"Little's law. {run.littles_law.words}")
    for warning in warnings_of(run):
        tell(f"warning: {warning}")


def _compare(files: list[str], *, as_json: bool) -> None:
    if len(files) != 2:
        raise typer.BadParameter("compare takes two reports: folders, or report.json files")
    from orris.loadtest.comparison import compare  # noqa: PLC0415
    from orris.loadtest.documents import read_run  # noqa: PLC0415
    from orris.loadtest.report import comparison_rows, comparison_warnings  # noqa: PLC0415

    first, second = (read_run(Path(each)) for each in files)
    ratios = compare(first, second)
    if as_json:
        print_json({"a": files[0], "b": files[1], "confidence": 0.95, "ratios": ratios})
    else:
        print_table(["", files[0], files[1], "ratio", "95 % interval", ""], comparison_rows(ratios))
    for warning in comparison_warnings(first, second):
        tell(f"warning: {warning}")
