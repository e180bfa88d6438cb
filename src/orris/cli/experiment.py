"""``orris experiment``: experiments with a served model, first of all with autoscaling."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orris.cli.terminal import JsonOption, StoreOption, print_json, print_table, say, tell

if TYPE_CHECKING:
    from orris.autoscaling.results import Experiment

app = typer.Typer(
    help="Experiments with a served model.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

AUTOSCALING_EXAMPLES = (
    "Examples:  orris experiment autoscaling --local iris   ·   orris experiment autoscaling --local --load-seconds 8"
    " --after-seconds 4 --faster 30   ·   orris experiment autoscaling --simulate --peak-rate 50000"
)
_REPORT = Path("autoscaling-results")


@app.callback()
def experiment() -> None:
    """Experiments with a served model."""


@app.command(epilog=AUTOSCALING_EXAMPLES)
def autoscaling(
    model: Annotated[
        str | None, typer.Argument(help="NAME, NAME@VERSION, NAME:ALIAS or a bundle's folder [default: ORRIS_MODEL]")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Run it here: replicas held to a CPU quota, behind HAProxy, with wrk.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulate a day and thousands of replicas from the results of --local.")
    ] = False,
    context: Annotated[
        str | None, typer.Option(metavar="CONTEXT", help="Run it on the cluster of this context of the kubeconfig.")
    ] = None,
    max_replicas: Annotated[
        list[int] | None, typer.Option(min=1, help="Most replicas of a scenario; may be repeated [default: 3, then 1]")
    ] = None,
    connections: Annotated[
        list[int] | None, typer.Option(min=1, help="Its connections; may be repeated [default: 1000, then 2000]")
    ] = None,
    cpu: Annotated[float, typer.Option(min=0.01, help="CPUs that a replica requests, and may use at most.")] = 0.1,
    target: Annotated[float, typer.Option(min=1, max=100, help="Percent of the CPU that the autoscaler aims at.")] = 60,
    load_seconds: Annotated[float, typer.Option(min=1, help="How long the load runs.")] = 60,
    after_seconds: Annotated[float, typer.Option(min=0, help="How long is measured after it.")] = 100,
    faster: Annotated[
        float, typer.Option(min=1, help="Divide the autoscaler's periods by this; 1: as Kubernetes has them.")
    ] = 5,
    body: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="File with a request's body [default: 3 rows of the model's table]",
        ),
    ] = None,
    route: Annotated[str, typer.Option(help="Path that is asked.")] = "/predict",
    results: Annotated[
        Path | None,
        typer.Option(help="Simulation: results of --local [default: autoscaling.json in the output folder]"),
    ] = None,
    peak_rate: Annotated[
        float, typer.Option(min=1, help="Simulation: requests a second at the day's peak.")
    ] = 1_000_000,
    startup_seconds: Annotated[
        float | None, typer.Option(min=0, help="Simulation: start of a replica [default: as measured]")
    ] = None,
    namespace: Annotated[str, typer.Option(help="Cluster: namespace of the release.")] = "orris",
    release: Annotated[str, typer.Option(help="Cluster: the release.")] = "orris",
    target_url: Annotated[str, typer.Option(help="Cluster: what is asked [default: the release's service]")] = "",
    restore: Annotated[
        bool, typer.Option("--restore", help="Cluster: only put back what a run left that was killed.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for the results: JSON, PNG, Markdown and HTML.")] = _REPORT,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load a model and watch the autoscaler: replicas, CPU, throughput, latency, and what was the bottleneck.

    --local needs HAProxy and wrk (apt-get install haproxy wrk). Ctrl-C ends every process and keeps what was measured.
    --simulate goes on from those results: a peak that triples, a slow start, HPA or KEDA, scale to zero. --context
    limits the release's autoscaler, runs wrk as Jobs, records the autoscaler and the pods, and puts everything back,
    also after a kill: by the next run, or with --restore. Production is refused. Each of the three needs libraries that
    the extra 'experiment' installs: pip install 'orris[experiment]'.
    """
    if local + simulate + (context is not None) != 1:
        raise typer.BadParameter("say where it runs: --local, --simulate or --context CONTEXT")
    if simulate:
        _simulate(results or output / "autoscaling.json", peak_rate, startup_seconds, output, as_json)
        return
    scenarios = list(zip(max_replicas or [3, 1], connections or [1000, 2000], strict=False))
    if len(max_replicas or [3, 1]) != len(connections or [1000, 2000]):
        raise typer.BadParameter("--max-replicas and --connections come in pairs: repeat both equally often")
    for number in (signal.SIGTERM, signal.SIGHUP):  # a stopped experiment keeps what it has, and puts things back, too
        signal.signal(number, signal.default_int_handler)
    if context is not None:
        where = (context, namespace, release)
        _on_cluster(where, scenarios, load_seconds, target_url, output, restore=restore, as_json=as_json)
        return
    from orris.autoscaling.local import LocalSettings, run_local  # noqa: PLC0415

    settings = LocalSettings(
        serve=[*([model] if model else []), *(["--store", store] if store else [])],
        scenarios=scenarios,
        cores=cpu,
        load_seconds=load_seconds,
        after_seconds=after_seconds,
        faster=faster,
        target_percent=target,
        route=route,
        body=body,
    )
    _print(run_local(settings, tell), output, as_json)


def _on_cluster(
    where: tuple[str, str, str],
    scenarios: list[tuple[int, int]],
    load_seconds: float,
    target_url: str,
    output: Path,
    *,
    restore: bool,
    as_json: bool,
) -> None:
    from orris.autoscaling.cluster import ClusterSettings, restore_cluster, run_cluster  # noqa: PLC0415

    settings = ClusterSettings(*where, scenarios=scenarios, target_url=target_url, load_seconds=load_seconds)
    if restore:
        say("put back what an earlier run left" if restore_cluster(settings) else "there was nothing to put back")
        return
    _print(run_cluster(settings, tell), output, as_json)


def _simulate(results: Path, peak_rate: float, startup: float | None, output: Path, as_json: bool) -> None:
    from orris.autoscaling.questions import run_simulation  # noqa: PLC0415
    from orris.autoscaling.report import SIMULATION_HEADER, simulation_table, write_simulation_report  # noqa: PLC0415
    from orris.autoscaling.results import read_experiment  # noqa: PLC0415

    found = run_simulation(read_experiment(results), peak_rate, startup_seconds=startup, tell=tell)
    files = write_simulation_report(found, output)
    if as_json:
        print_json(found)
        return
    print_table(SIMULATION_HEADER[:-1], [row[:-1] for row in simulation_table(found)])
    for outcome in found.outcomes:
        say(f"{outcome.name}: {outcome.observation}")
    say("\nThe simulation beside what was measured:")
    for sentence in found.checks:
        say(f"  {sentence}")
    say(f"\nWritten: {', '.join(os.path.relpath(file) for file in files)}")


def _print(found: Experiment, output: Path, as_json: bool) -> None:
    from orris.autoscaling.report import HEADER, table, write_report  # noqa: PLC0415

    files = write_report(found, output)
    if as_json:
        print_json(found)
    else:
        rows = table(found)
        print_table(HEADER[:-1], [row[:-1] for row in rows])
        for scenario in found.scenarios:
            say(f"\n{scenario.name}:")
            for sentence in scenario.observations:
                say(f"  {sentence}")
        say(f"\nWritten: {', '.join(os.path.relpath(file) for file in files)}")
    if found.interrupted:
        tell("interrupted: what was measured until then is kept")
        raise typer.Exit(1)
