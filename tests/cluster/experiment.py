"""The autoscaling experiment of a reference project on real pods: ``python -m tests.cluster.experiment``.

A server begins as one pod that may use a tenth of a processor. wrk, as the Job of ``loadtests/k8s``, keeps 1,000
connections busy while the HPA may go to three pods, then 2,000 while it may not go beyond one. The first is done twice:
through the Service, which spreads connections, and through a gateway, which spreads requests. Kubernetes' own HPA
controller decides, with its default periods, on CPU that is measured from the pods' control groups.

It writes ``autoscaling-cluster.json`` and ``autoscaling-cluster.svg``, and into docs/cluster-tests.md the table made of
them. It needs a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

import orris
from tests.cluster.api import Object
from tests.cluster.controlplane import Cluster, control_plane
from tests.cluster.helm import ROOT, Helm
from tests.cluster.kubelet.images import Images, orris_image, wrk_image
from tests.cluster.kubelet.proxy import GATEWAY_OFFSET
from tests.cluster.live.recorder import Recorder
from tests.cluster.live.report import FIGURE, NUMBERS, draw, insert
from tests.cluster.live.workloads import REPOSITORY, nodes_are_ready, server_pods, settled
from tests.cluster.programs import KUBERNETES
from tests.cluster.waiting import until
from tests.example_tables import MEASUREMENTS, TABLE

LOADTESTS = ROOT / "loadtests" / "k8s"
NAMESPACE = "experiment"
RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "100m", "memory": "256Mi"}}


@dataclass(frozen=True)
class Part:
    """One load test of the experiment.

    Attributes:
        connections: That wrk keeps busy.
        most_pods: Of the HPA.
        gateway: Whether requests are spread rather than connections.
        until_scaled_down: Whether it is recorded until one pod is left.
    """

    connections: int
    most_pods: int
    gateway: bool
    until_scaled_down: bool = False


PARTS = [
    Part(1000, 3, gateway=False),
    Part(1000, 3, gateway=True, until_scaled_down=True),
    Part(2000, 1, gateway=True),
]


def values(most_pods: int) -> Object:
    """The chart's values for a part: those of ``loadtests/k8s``, and pods that are held to their share of CPU."""
    limits = yaml.safe_load((LOADTESTS / f"values-hpa-max-{most_pods}.yaml").read_text("utf-8"))
    return {
        **limits,
        "image": {"repository": REPOSITORY, "tag": "1.0.0"},
        "model": {"name": "iris"},
        "resources": RESOURCES,
        "networkPolicy": {"enabled": False},
    }


def job(part: Part, seconds: int) -> Object:
    """The Job of ``loadtests/k8s`` for a part, as long as wanted, at the Service or at its gateway."""
    found: Object = yaml.safe_load((LOADTESTS / f"job-{part.connections}.yaml").read_text("utf-8"))
    spec = found["spec"]["template"]["spec"]
    [container] = spec["containers"]
    container["args"] = [f"-d{seconds}s" if word.startswith("-d") else word for word in container["args"]]
    # Kept-alive connections of an overloaded pod answer late; a minute says so, ten seconds would call it lost.
    container["args"] = ["60s" if word == "10s" else word for word in container["args"]]
    port = 80 + (GATEWAY_OFFSET if part.gateway else 0)
    for variable in container["env"]:
        if variable["name"] == "TARGET":
            variable["value"] = f"http://orris:{port}/predict"
    found["spec"]["activeDeadlineSeconds"] = seconds + 240
    found["metadata"]["namespace"] = NAMESPACE
    return found


def measured(cluster: Cluster, part: Part, seconds: int, *, short: bool) -> Object:
    """Run one part in a fresh release; returns wrk's numbers and the samples of the recorder."""
    helm = Helm(cluster, 4, NAMESPACE)
    helm.upgrade(values(part.most_pods), "--wait", "--timeout=5m")
    settled(cluster.api, NAMESPACE, 1, "1.0.0")
    wanted = job(part, seconds)
    name = wanted["metadata"]["name"]
    with Recorder(cluster, NAMESPACE) as recorder:
        time.sleep(RECORDED_BEFORE_SECONDS)
        cluster.kubectl("apply", "--namespace", NAMESPACE, "--filename", str(LOADTESTS / "configmap.yaml"))
        cluster.apply([wanted])
        begun = recorder.seconds

        def ended() -> bool:
            found = cluster.api.get("Job", NAMESPACE, name)
            return found is not None and any(found["status"].get(key) for key in ("succeeded", "failed"))

        until(ended, f"{name} has ended", seconds=seconds + 300)
        finished = recorder.seconds
        log = cluster.kubectl("logs", f"job/{name}", "--namespace", NAMESPACE)
        if part.until_scaled_down and not short:
            until(lambda: len(server_pods(cluster.api, NAMESPACE)) == 1, "one pod is left", seconds=900)
            time.sleep(RECORDED_BEFORE_SECONDS)
    cluster.kubectl("delete", "job", name, "--namespace", NAMESPACE)
    helm.uninstall()
    print(log, flush=True)  # noqa: T201
    numbers = json.loads(log.strip().splitlines()[-1])
    return {**asdict(part), "begun": begun, "finished": finished, "wrk": numbers, "samples": recorder.samples}


RECORDED_BEFORE_SECONDS = 10


@contextmanager
def prepared(home: Path) -> Iterator[Cluster]:
    """A cluster with the default periods of its HPA controller, the iris model and wrk."""
    bundle = orris.train(
        store=home / "store", table=TABLE, target="species", name="iris", version="1.0.0", bounds=MEASUREMENTS
    )
    images = Images(home / "images.json")
    images.put(f"{REPOSITORY}:1.0.0", orris_image(bundle.folder))
    for part in PARTS:
        [container] = job(part, 60)["spec"]["template"]["spec"]["containers"]
        images.put(container["image"], wrk_image())
    with control_plane(home / "cluster", quick_autoscaler=False) as cluster:
        cluster.start(
            "kubelet",
            *(sys.executable, "-m", "tests.cluster.kubelet", "--kubeconfig", cluster.kubeconfig),
            *("--home", home / "kubelet", "--images", images.path),
            environ={"PYTHONPATH": str(ROOT)},
        )
        until(lambda: nodes_are_ready(cluster.api), "the kubelet has announced its nodes")
        yield cluster


def main() -> None:
    """Run all parts, and write the numbers, the figure and the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.experiment", description=__doc__)
    parser.add_argument("--seconds", type=int, default=180, help="of each load test [180]")
    parser.add_argument("--output", type=Path, help="folder for the files; by default those of the repository")
    parser.add_argument("--short", action="store_true", help="end before the pods that were added have gone")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="orris-experiment-"))
    busy = os.getloadavg()[0]
    begun = time.monotonic()
    try:
        with prepared(home) as cluster:
            parts = [measured(cluster, part, options.seconds, short=options.short) for part in PARTS]
    finally:
        shutil.rmtree(home, ignore_errors=True)
    document = {
        "kubernetes": KUBERNETES,
        "orris": orris.__version__,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "load_average_before": round(busy, 2),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "parts": parts,
    }
    numbers = (options.output / NUMBERS.name) if options.output else NUMBERS
    numbers.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    draw(document, (options.output / FIGURE.name) if options.output else FIGURE)
    if not options.output:
        insert(document)


if __name__ == "__main__":
    main()
