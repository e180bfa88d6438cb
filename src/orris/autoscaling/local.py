"""The experiment on this machine: real replicas, a real proxy, a real load, and the autoscaler's algorithm.

::

    wrk ──> HAProxy ──> replica, replica, replica     each ``orris serve`` in a process held to its quota
               ^           │ CPU of the last window
               └── hpa <───┘

As in a cluster, a replica is started under its quota, gets requests once it is ready, and is ended with SIGTERM. Unlike
a Service of Kubernetes, which gives whole connections to pods, the proxy gives each request to the least busy replica.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from orris.autoscaling import driver, proxy
from orris.autoscaling.bottleneck import observe
from orris.autoscaling.driver import Driver, script_body
from orris.autoscaling.hpa import Autoscaler, Policy, Sample, ScalingRules, Spec
from orris.autoscaling.machine import allow_open_files, find_program, machine_cpu_seconds
from orris.autoscaling.proxy import Proxy, Traffic
from orris.autoscaling.replica import Replica
from orris.autoscaling.results import Experiment, Point, Scenario, Step
from orris.errors import ExperimentError
from orris.loadtest.preparation import ask_card
from orris.loadtest.rows import drawn_rows
from orris.replicas import processes
from orris.replicas.quota import SignalQuota, hold
from orris.version import __version__

CHART_SPEC = Spec(
    min_replicas=1,
    max_replicas=3,
    target=60,
    scale_up=ScalingRules(0, (Policy("Percent", 100, 30), Policy("Pods", 2, 30))),
    scale_down=ScalingRules(300, (Policy("Pods", 1, 60),)),
)
"""The autoscaler that the chart makes (``charts/orris/values.yaml``), with 1 to 3 replicas."""

METRICS_WINDOW_SECONDS = 15.0
"""The window over which metrics-server reports CPU, by default."""

N_LONE_REQUESTS = 200

IRIS_COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
"""The columns, in order, of the rows in ``predict.lua``."""

N_ROWS = 3
"""Rows in a request, as many as ``predict.lua`` has."""

_SERVE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How the experiment runs here.

    Attributes:
        serve: Arguments of ``orris serve``, for instance ``("iris", "--store", "./artifacts")``.
        scenarios: Most replicas and connections of each.
        cores: CPU quota of a replica.
        load_seconds: How long the load runs.
        after_seconds: Duration of the measurement after it.
        sample_seconds: Between two points.
        faster: By how much the autoscaler's periods are divided, so that minutes show what takes a quarter of an hour.
        target_percent: CPU that the autoscaler aims at.
        route: The path of the requests.
        body: A file with the body of the requests; without it three rows: those of the reference project's script for
            iris, and of any other table rows drawn from the model's schema.
    """

    serve: Sequence[str]
    scenarios: Sequence[tuple[int, int]] = ((3, 1000), (1, 2000))
    cores: float = 0.1
    load_seconds: float = 60
    after_seconds: float = 100
    sample_seconds: float = 1
    faster: float = 5
    target_percent: float = 60
    route: str = "/predict"
    body: Path | None = None


def run_local(settings: LocalSettings, tell: Callable[[str], None] = lambda _: None) -> Experiment:
    """Run all scenarios and return what was measured; Ctrl-C ends it early and keeps that.

    Args:
        settings: How.
        tell: Called with a line for every decision that changes something.

    Raises:
        ExperimentError: A program is missing, or a replica does not start.
    """
    find_program("haproxy")
    find_program("wrk")
    allow_open_files()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    experiment = Experiment("local", at, conditions(settings), faster=settings.faster)
    for max_replicas, connections in settings.scenarios:
        plural = "s" if max_replicas > 1 else ""
        name = f"at most {max_replicas} replica{plural}, {connections:,} connections"
        scenario = Scenario(name, connections, max_replicas, settings.cores, settings.target_percent)
        experiment.scenarios.append(scenario)
        tell(name)
        try:
            with _Run(settings, scenario, tell) as run:
                run.run()
        except KeyboardInterrupt:
            experiment.interrupted = True
        scenario.observations = observe(scenario)
        if experiment.interrupted:
            break
    return experiment


def conditions(settings: LocalSettings) -> dict[str, str]:
    """The machine, the programs and the settings, in words."""
    quota = _quota_name(settings.cores)
    return {
        "machine": f"{_processor()}, {os.cpu_count()} processors, Linux {platform.release()}",
        "programs": f"Orris {__version__}, {proxy.version()}, {driver.version()} with {driver.N_THREADS} threads",
        "replica": f"one process, {settings.cores * 1000:.0f} millicores requested and at most ({quota})",
        "autoscaler": (
            f"the chart's policies, target {settings.target_percent:g} % CPU, every period divided by"
            f" {settings.faster:g}: sync {15 / settings.faster:g} s, scale-down window {300 / settings.faster:g} s"
        ),
        "load": f"POST {settings.route}, closed loop without think time, {settings.load_seconds:g} s",
    }


def _quota_name(cores: float) -> str:
    """The means that holds a process here, found by holding one that waits."""
    waiting = processes.start(["sleep", "60"])
    try:
        quota = hold(waiting.pid, cores, SignalQuota)
        processes.stop(waiting)
        quota.close()
    finally:
        processes.stop(waiting)
    return quota.name


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


@dataclass(slots=True)
class _Counters:
    """Readings of the cumulative counters at one time."""

    at: float
    replicas: dict[str, float]
    throttled: dict[str, float]
    traffic: Traffic
    driver: float
    proxy: float
    machine: tuple[float, float]


@dataclass(slots=True)
class _Run:
    """One scenario while it runs."""

    settings: LocalSettings
    scenario: Scenario
    tell: Callable[[str], None]
    replicas: list[Replica] = field(default_factory=list)
    wanted: int = 1
    began: float = 0
    started: int = 0
    body: Path | None = None
    load: Driver | None = None
    load_from: float = 0
    load_cpu: float = 0
    past: deque[_Counters] = field(default_factory=deque)
    stack: ExitStack = field(default_factory=ExitStack)
    scaler: Autoscaler = field(init=False)
    proxy: Proxy = field(init=False)
    folder: Path = field(init=False)

    def __enter__(self) -> _Run:
        spec = CHART_SPEC.faster(self.settings.faster)
        target, most = self.settings.target_percent, self.scenario.max_replicas
        self.scaler = Autoscaler(replace(spec, max_replicas=most, target=target))
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="orris-experiment-")))
        self.folder = folder
        self.proxy = Proxy(folder, self.scenario.max_replicas, self.scenario.connections)
        self.stack.callback(self.proxy.close)
        self.stack.callback(self._close_replicas)
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._finish_load()
        finally:
            self.stack.close()

    def run(self) -> None:
        """Wait for the first replica, then load, then let the autoscaler go back down."""
        self._scale_to(1)
        self._wait_until_ready()
        self.body = self.settings.body or self._drawn_body()
        self._time_lone_requests()
        # Two windows without load, so that the first decisions have samples.
        self.began = time.monotonic()
        self._phase("before", 2 * self._window())
        url = self.proxy.url + self.settings.route
        self.load = Driver(url, self.scenario.connections, self.settings.load_seconds, self.body)
        self.load_from = time.monotonic()
        self._phase("load", self.settings.load_seconds)
        self._finish_load()
        self._phase("after", self.settings.after_seconds)

    def _drawn_body(self) -> Path | None:
        """A file with rows of the model's own table; ``None``: the table is iris, whose rows wrk's script has."""
        card = ask_card(self.proxy.url, "", {})
        if [column.name for column in card.columns] == IRIS_COLUMNS:
            return None
        body = self.folder / "body.json"
        body.write_text(json.dumps(drawn_rows(card, N_ROWS)), "utf-8")
        return body

    def _time_lone_requests(self) -> None:
        """The service time, which the simulation needs: requests one after the other, at a replica without load."""
        body = self.body.read_bytes() if self.body else script_body()
        address = urlsplit(self.proxy.url)
        client = HTTPConnection(address.hostname or "", address.port, timeout=30)
        with closing(client):
            for _ in range(N_LONE_REQUESTS):
                began = time.perf_counter()
                client.request("POST", self.settings.route, body, {"Content-Type": "application/json"})
                answer = client.getresponse()
                answer.read()
                self.scenario.service_ms.append(round((time.perf_counter() - began) * 1000, 3))
                if answer.status != 200:
                    raise ExperimentError(
                        f"POST {self.settings.route} was answered with {answer.status}: give a request that it takes"
                        " with --body, or another path with --route"
                    )

    def _window(self) -> float:
        """The window of the CPU samples: a sync period here, as metrics-server's and the controller's are both 15 s."""
        return METRICS_WINDOW_SECONDS / self.settings.faster

    def _phase(self, name: Literal["before", "load", "after"], seconds: float) -> None:
        until = time.monotonic() + seconds
        next_point = next_sync = time.monotonic()
        while (now := time.monotonic()) < until:
            self._look_after_replicas()
            if now >= next_point:
                self._take_point(name, now)
                next_point += self.settings.sample_seconds
            if now >= next_sync and len(self.past) > 1:
                self._sync(now)
                next_sync += self.scaler.spec.sync_seconds
            time.sleep(max(0.0, min(next_point, next_sync, until, now + 0.05) - time.monotonic()))

    def _take_point(self, phase: Literal["before", "load", "after"], now: float) -> None:
        counters = self._count(now)
        before = self.past[-1] if self.past else None
        self.past.append(counters)
        while len(self.past) > 2 and self.past[1].at <= now - self._window():
            self.past.popleft()
        if before is None:
            return
        elapsed = now - before.at
        ready = [replica for replica in self.replicas if replica.is_ready]
        used = {
            replica.name: max(0.0, counters.replicas[replica.name] - before.replicas.get(replica.name, 0.0))
            for replica in self.replicas
        }
        held = sum(
            counters.throttled[replica.name] - before.throttled.get(replica.name, counters.throttled[replica.name])
            for replica in ready
        )
        requested = len(ready) * self.settings.cores * elapsed
        driver_cores = max(0.0, counters.driver - before.driver) / elapsed
        proxy_cores = max(0.0, counters.proxy - before.proxy) / elapsed
        busy, idle = (after - earlier for after, earlier in zip(counters.machine, before.machine, strict=True))
        self.scenario.points.append(
            Point(
                seconds=round(now - self.began, 2),
                phase=phase,
                wanted=self.wanted,
                ready=len(ready),
                cpu_millicores=round(sum(used.values()) / elapsed * 1000, 1),
                usage_percent=round(sum(used[each.name] for each in ready) / requested * 100, 1) if ready else None,
                throttled_percent=round(held / elapsed / len(ready) * 100, 1) if ready else None,
                requests_per_second=round((counters.traffic.requests - before.traffic.requests) / elapsed, 1),
                latency_ms=counters.traffic.latency_ms if phase == "load" else None,
                errors_per_second=round((counters.traffic.errors - before.traffic.errors) / elapsed, 1),
                driver_cores=round(driver_cores, 3) if phase == "load" else None,
                proxy_cores=round(proxy_cores, 3),
                other_cores=round(max(0.0, (busy - sum(used.values())) / elapsed - driver_cores - proxy_cores), 2),
                machine_percent=round(busy / (busy + idle) * 100, 1) if busy + idle else None,
            )
        )

    def _count(self, now: float) -> _Counters:
        driver_seconds = self.load.cpu_seconds() if self.load else 0.0
        self.load_cpu = max(self.load_cpu, driver_seconds)
        return _Counters(
            now,
            {replica.name: replica.cpu_seconds() for replica in self.replicas},
            {replica.name: replica.quota.throttled_seconds() for replica in self.replicas},
            self.proxy.traffic(),
            driver_seconds,
            processes.cpu_seconds(self.proxy.process.pid),
            machine_cpu_seconds(),
        )

    def _sync(self, now: float) -> None:
        oldest, newest = self.past[0], self.past[-1]
        window = newest.at - oldest.at
        samples = {
            replica.name: Sample(
                round((newest.replicas[replica.name] - oldest.replicas[replica.name]) / window * 1000),
                newest.at,
                window,
            )
            for replica in self.replicas
            if replica.name in oldest.replicas and replica.name in newest.replicas
        }
        pods = [replica.as_pod() for replica in self.replicas]
        current = self.wanted
        decision = self.scaler.step(now, current, pods, samples)
        self.scenario.steps.append(
            Step(
                round(now - self.began, 2),
                current,
                decision.replicas,
                decision.reason,
                decision.recommended,
                decision.usage,
            )
        )
        if decision.replicas != current:
            usage = "?" if decision.usage is None else f"{decision.usage:.0f}"
            self.tell(f"{now - self.began:5.0f} s: {usage} % CPU, {current} → {decision.replicas} replicas")
            self._scale_to(decision.replicas)

    def _scale_to(self, wanted: int) -> None:
        """Start or end replicas; those that are not ready go first, then the newest, as a ReplicaSet does it."""
        self.wanted = wanted
        staying = [replica for replica in self.replicas if replica.leaving_since is None]
        for _ in range(wanted - len(staying)):
            taken = {replica.index for replica in self.replicas}
            free = [index for index in range(self.scenario.max_replicas) if index not in taken]
            if not free:
                return  # a place becomes free when a replica that is leaving has ended
            self.started += 1
            name = f"replica-{self.started}"
            self.replicas.append(Replica(free[0], name, self.settings.serve, self.settings.cores))
        order = sorted(staying, key=lambda replica: (replica.is_ready, -replica.started_at))
        for replica in order[: max(0, len(staying) - wanted)]:
            self.proxy.leave(replica.index)
            replica.leave()

    def _look_after_replicas(self) -> None:
        for replica in list(self.replicas):
            replica.check()
            if replica.leaving_since is not None:
                if replica.has_ended:
                    self.proxy.empty(replica.index)
                    replica.close()
                    self.replicas.remove(replica)
                    self._scale_to(self.wanted)
            elif replica.ready_at is not None and not replica.is_in_proxy:
                self.scenario.startup_seconds.append(round(replica.ready_at - replica.started_at, 2))
                self.proxy.use(replica.index, replica.port)
                replica.is_in_proxy = True

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + _SERVE_SECONDS
        while time.monotonic() < until:
            self._look_after_replicas()
            if any(replica.is_ready for replica in self.replicas):
                return
            time.sleep(0.05)
        raise ExperimentError(f"no replica was ready within {_SERVE_SECONDS:g} s: give more CPU")

    def _finish_load(self) -> None:
        if self.load is None:
            return
        load, self.load = self.load, None
        self.load_cpu = max(self.load_cpu, load.cpu_seconds())
        if time.monotonic() - self.load_from >= self.settings.load_seconds:
            # wrk ends by itself, but waits for answers that are outstanding; a run that was cut short is interrupted.
            with suppress(subprocess.TimeoutExpired):
                load.process.wait(20)
        try:
            self.scenario.load = load.finish(round(self.load_cpu / max(0.1, time.monotonic() - self.load_from), 3))
        except ExperimentError as error:
            self.tell(str(error))
        finally:
            load.close()

    def _close_replicas(self) -> None:
        for replica in self.replicas:
            replica.leave()
        for replica in self.replicas:
            replica.close()
