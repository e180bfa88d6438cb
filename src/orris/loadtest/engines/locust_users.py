"""Locust's users, for ``locust -f loadtests/locustfile.py`` and for ``orris load --users``.

Each sends one request, waits, and sends the next. The requests are made of the server's model card, so any table works.
Locust loads this module as its file; what it does alone is set by environment variables (docs/load-tests.md).
"""

from __future__ import annotations

import logging
import os
import random
import ssl
import time
from array import array
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, between, events, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from orris.errors import OrrisError
from orris.loadtest.arrivals import Step
from orris.loadtest.documents import as_json
from orris.loadtest.engines.locust import Line
from orris.loadtest.preparation import prepare
from orris.loadtest.recording import Recorder, edges_of
from orris.loadtest.target import Target, target_from_json

WRITE_SECONDS, END_SECONDS, REPORT_SECONDS = 0.25, 0.5, 4.0
"""How often slices are written, and how long after the measured time Locust is ended: alone, and with workers."""


def _read(name: str, default: str = "") -> str:
    return os.environ.get(f"LOADTEST_{name}", "") or default


def _think() -> tuple[float, float]:
    low, dots, high = _read("THINK", "1..2").partition("..")
    return float(low), float(high if dots else low)


def _mix() -> dict[str, float]:
    pairs = (each.partition("=") for each in _read("MIX", "native").split(","))
    return {name: float(weight or 1) for name, _, weight in pairs}


class _Shared:
    """The state that all users of this process share."""

    target: Target | None = None
    channel: Any = None
    recording: _Recording | None = None


class Caller(FastHttpUser):
    """Sends a request, waits for the answer, thinks, and sends the next."""

    wait_time = between(*_think())
    insecure = False
    network_timeout = connection_timeout = float(_read("TIMEOUT_SECONDS", "10"))

    def ssl_context_factory(self) -> ssl.SSLContext:
        """The certificates that may sign the server's."""
        return ssl.create_default_context(cafile=_read("CA") or None)

    def on_start(self) -> None:
        """Draw an order of requests of this user's own."""
        if _Shared.target is None:
            raise StopUser
        self._order = _Shared.target.drawn(random.getrandbits(32))
        self._n_sent = 0

    @task
    def predict(self) -> None:
        """One request; an empty answer is a failure."""
        assert _Shared.target is not None  # noqa: S101 (on_start)
        number, content = self._order[self._n_sent % len(self._order)]
        self._n_sent += 1
        route = _Shared.target.routes[number]
        context = {"route": number, "sent_bytes": len(content)}
        if route.grpc_method:
            self._call(route.grpc_method, content, context)
            return
        path, headers, body = _parts(content)
        client: Any = self.client  # Locust's types have no bytes.
        with client.post(path, data=body, headers=headers, context=context, catch_response=True) as answer:
            if answer.status_code == 200 and not answer.content:
                answer.failure("an answer without a prediction")

    def _call(self, method: str, content: bytes, context: dict[str, int]) -> None:
        import grpc  # noqa: PLC0415

        assert _Shared.target is not None  # noqa: S101
        start, begin = time.time(), time.perf_counter()
        problem: Exception | None = None
        answer = b""
        try:
            call = _Shared.channel.unary_unary(method)
            answer = call(content, timeout=self.network_timeout, metadata=_Shared.target.grpc_metadata)
        except grpc.RpcError as error:
            problem = error
        self.environment.events.request.fire(
            request_type="gRPC",
            name=method.rpartition("/")[2],
            response_time=(time.perf_counter() - begin) * 1e3,
            response_length=len(answer),
            response=None,
            context=context,
            exception=problem,
            start_time=start,
            url=_Shared.target.grpc_address,
        )


def _parts(content: bytes) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a prepared request; Locust's client writes host and length itself."""
    head, _, body = content.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return first.split(" ")[1], {key: fields[key] for key in fields if key not in {"host", "content-length"}}, body


def learn(environment: Environment, **_: Any) -> None:
    """Make the requests, before the first user starts; a master sends none."""
    try:
        if path := _read("TARGET"):
            _Shared.target = target_from_json(Path(path).read_bytes())
        elif not isinstance(environment.runner, MasterRunner):
            _Shared.target = _prepared(environment.host or "")
    except OrrisError as error:
        logging.error("load test failed: %s", error)
        environment.process_exit_code = 1
        if environment.runner is not None:
            environment.runner.quit()
        return
    if _Shared.target is not None and any(route.grpc_method for route in _Shared.target.routes):
        _open_channel(_Shared.target)
    if _read("RESULTS") and _Shared.target is not None:
        _Shared.recording = _Recording(environment, _Shared.target)


def _prepared(host: str) -> Target:
    key = _read("API_KEY")
    return prepare(
        host,
        mix=_mix(),
        model=_read("MODEL"),
        rows=Path(_read("ROWS")) if _read("ROWS") else None,
        rows_per_request=int(_read("ROWS_PER_REQUEST", "1")),
        headers={"authorization": f"Bearer {key}"} if key else {},
        grpc_address=_read("GRPC"),
        tls_ca=Path(_read("CA")) if _read("CA") else None,
    )


def _open_channel(target: Target) -> None:
    import grpc  # noqa: PLC0415
    import grpc.experimental.gevent  # noqa: PLC0415

    grpc.experimental.gevent.init_gevent()
    _Shared.channel = (
        grpc.insecure_channel(target.grpc_address)
        if target.context is None
        else grpc.secure_channel(target.grpc_address, target.grpc_credentials())
    )


def judge(environment: Environment, **_: Any) -> None:
    """Set the exit code by the limits."""
    if isinstance(environment.runner, WorkerRunner):
        return
    total = environment.stats.total
    p95 = total.get_response_time_percentile(0.95) or 0.0
    limits = {
        f"{total.fail_ratio:.4%} of the requests failed": total.fail_ratio > float(_read("MAX_FAILURES", "0")),
        f"the 95th percentile is {p95:.0f} ms": p95 > float(_read("P95_MS", "inf")),
        f"only {total.total_rps:.1f} requests a second": total.total_rps < float(_read("MIN_RPS", "0")),
        "no request was made": total.num_requests == 0,
    }
    for text, passed in limits.items():
        if passed:
            logging.error("load test failed: %s", text)
            environment.process_exit_code = 1


class _Recording:
    """The requests for ``orris load``: workers send theirs to the master, which writes slices to a file."""

    def __init__(self, environment: Environment, target: Target) -> None:
        self._names = [route.name for route in target.routes]
        self._recorder: Recorder | None = None
        self._is_worker = isinstance(environment.runner, WorkerRunner)
        self._numbers = array("d")
        self._kinds: list[str] = []
        self._file = Path(_read("RESULTS"))
        self._n_written = 0
        self._runner = environment.runner
        hooks: Any = environment.events
        hooks.request.add_listener(self.ended)
        hooks.report_to_master.add_listener(self.report)
        hooks.worker_report.add_listener(self.reported)
        if not self._is_worker:
            hooks.spawning_complete.add_listener(self.begin)
            hooks.quitting.add_listener(self.finish)

    def begin(self, **_: Any) -> None:
        """All users have started: the warm-up begins, and then the measurement."""
        if self._recorder is None:
            edges = edges_of([Step(1.0, float(_read("SECONDS")))], float(_read("SLICE_SECONDS", "1")))
            self._recorder = Recorder(time.time() + float(_read("WARM_UP_SECONDS", "0")), edges, self._names)
            gevent.spawn(self._write, self._recorder)

    def ended(self, response_time: float, response_length: int, exception: Any, context: Any, **more: Any) -> None:
        """A request ended; in a worker it is kept for the next report."""
        start = more["start_time"]
        kind = "" if exception is None else _kind(exception, more.get("response"))
        numbers = (context["route"], start, response_time / 1e3, response_length or 0, context["sent_bytes"])
        if self._is_worker:
            self._numbers.extend(numbers)
            self._kinds.append(kind)
        else:
            self._note(numbers, kind)

    def report(self, client_id: str, data: dict[str, Any]) -> None:
        """Give the master what ended since the last time."""
        del client_id
        data["orris_numbers"], data["orris_kinds"] = self._numbers.tolist(), self._kinds
        self._numbers, self._kinds = array("d"), []

    def reported(self, client_id: str, data: dict[str, Any]) -> None:
        """A worker's requests."""
        del client_id
        numbers = data.get("orris_numbers", [])
        for i, kind in enumerate(data.get("orris_kinds", [])):
            self._note(numbers[5 * i : 5 * i + 5], kind)

    def _note(self, numbers: Any, kind: str) -> None:
        number, start, seconds, n_received, n_sent = numbers
        route = int(number)
        if self._recorder is None:
            return
        self._recorder.started(route, start, start, int(n_sent))
        if kind:
            self._recorder.failed(route, start, start + seconds, kind)
        else:
            self._recorder.answered(route, start, start + seconds, int(n_received))

    def _write(self, recorder: Recorder) -> None:
        """Write slices, and end Locust behind the last."""
        # A master hears from its workers only every few seconds.
        end = recorder.end + (REPORT_SECONDS if isinstance(self._runner, MasterRunner) else END_SECONDS)
        while time.time() < end:
            gevent.sleep(WRITE_SECONDS)
            self._write_slices(recorder)
        if self._runner is not None:
            self._runner.quit()

    def _write_slices(self, recorder: Recorder) -> None:
        recorder.flush()
        slices = recorder.slices(time.time() - (REPORT_SECONDS if isinstance(self._runner, MasterRunner) else 0.0))
        with self._file.open("ab") as file:
            for each in slices[self._n_written :]:
                file.write(as_json(Line(slice=each)) + b"\n")
        self._n_written = len(slices)

    def finish(self, **_: Any) -> None:
        """Write the whole result, which has the answers that came after their slice was over."""
        if self._recorder is None:
            return
        self._write_slices(self._recorder)
        slices = self._recorder.slices(time.time())
        with self._file.open("ab") as file:
            file.write(as_json(Line(slices=slices, routes=self._recorder.routes())) + b"\n")


def _kind(problem: Any, response: Any) -> str:
    """The kind of a failure, as the open loop calls it."""
    status = getattr(response, "status_code", 0) or 0
    if status >= 300:
        return f"HTTP {status}"
    if hasattr(problem, "code") and callable(problem.code):
        name = problem.code().name
        return "timeout" if name == "DEADLINE_EXCEEDED" else f"gRPC {name}"
    if isinstance(problem, ConnectionRefusedError):
        return "connection refused"
    if isinstance(problem, TimeoutError):
        return "timeout"
    if isinstance(problem, ConnectionError):
        return "connection closed"
    return str(problem) or type(problem).__name__


def wake(**_: Any) -> None:
    """Let gevent see what time it is: Locust's run time would else begin before this file was imported."""
    gevent.get_hub().loop.update_now()


_HOOKS: Any = events
_HOOKS.init.add_listener(wake)
_HOOKS.test_start.add_listener(learn)
_HOOKS.quitting.add_listener(judge)
