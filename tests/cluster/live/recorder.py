"""Records what an autoscaler sees and does: pods, CPU and answers of a release, every two seconds."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import httpx

from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster
from tests.cluster.kubelet.addresses import loopback
from tests.cluster.live.workloads import is_ready, server_pods

INTERVAL_SECONDS = 2.0
SCRAPE_SECONDS = 10.0
_PREDICTIONS = re.compile(r'^http_requests_total\{[^}]*route="/predict"[^}]*\} (\S+)$', re.MULTILINE)
_CPU = re.compile(r"^process_cpu_seconds_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


class Recorder:
    """Takes samples from its beginning to its end, as a context.

    Attributes:
        samples: One for each interval: seconds from the beginning, pods that are ready and that the HPA wants, CPU in
            percent of the requests as the HPA saw it last, processors used and requests answered a second.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.samples: list[dict[str, Any]] = []
        self._api = cluster.api
        self._namespace = namespace
        self._begun = time.monotonic()
        self._counters: dict[str, tuple[float, float, float]] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder")
        self._client = httpx.Client(trust_env=False, timeout=SCRAPE_SECONDS)

    @property
    def seconds(self) -> float:
        """Seconds from the beginning."""
        return round(time.monotonic() - self._begun, 1)

    def __enter__(self) -> Recorder:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._end.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        with ThreadPoolExecutor(8) as threads:
            while not self._end.wait(INTERVAL_SECONDS):
                self._sample(threads)

    def _sample(self, threads: ThreadPoolExecutor) -> None:
        hpa = self._api.get("HorizontalPodAutoscaler", self._namespace, "orris")
        ready = [pod for pod in server_pods(self._api, self._namespace) if is_ready(pod)]
        rates = list(threads.map(self._rates, ready))
        status: Object = hpa["status"] if hpa else {}
        metrics = status.get("currentMetrics") or [{}]
        current = (metrics[0] or {}).get("containerResource", {}).get("current", {})
        self.samples.append(
            {
                "seconds": self.seconds,
                "ready_pods": len(ready),
                "wanted_pods": status.get("desiredReplicas") or None,  # 0: not computed yet
                "cpu_percent": current.get("averageUtilization"),
                "processors": round(sum(cpu for cpu, _ in rates), 3),
                "requests_per_second": round(sum(requests for _, requests in rates), 1),
            }
        )

    def _rates(self, pod: Object) -> tuple[float, float]:
        """Processors used, and requests answered a second, by a pod since the last sample."""
        name = pod["metadata"]["name"]
        try:
            text = self._client.get(f"http://{loopback(pod['status']['podIP'])}:8000/metrics").text
        except httpx.HTTPError:
            return 0.0, 0.0
        now = time.monotonic()
        cpu = sum(map(float, _CPU.findall(text)))
        requests = sum(map(float, _PREDICTIONS.findall(text)))
        before = self._counters.get(name)
        self._counters[name] = (now, cpu, requests)
        if before is None:
            return 0.0, 0.0
        elapsed = now - before[0]
        return (cpu - before[1]) / elapsed, (requests - before[2]) / elapsed
