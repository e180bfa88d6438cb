"""Tests of a real server with the variables of the chart's pods, under the requests of Kubernetes and Helm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orris.api import Bundle
from tests.chart.rendering import environment, of_kind, rendered, server, workload
from tests.servers import Server, client, serving
from tests.serving.issuer import Issuer
from tests.waiting import PATIENCE_SECONDS


def orris(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a container does: with its variables and no others of Orris."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("ORRIS_")}
    command = [sys.executable, "-m", "orris", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=clean | environ, timeout=PATIENCE_SECONDS
    )


@pytest.fixture(scope="module")
def pod(iris: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of the values ``store``, but for what only the cluster has.

    Its ports, and the folder of its models.
    """
    container = server(rendered("store"))
    environ = environment(container) | {"ORRIS_STORE": str(iris.folder.parents[2]), "ORRIS_MODEL": "iris@1.0.0"}
    assert container["args"] == ["serve"]
    with serving("--grpc-port", "0", folder=tmp_path_factory.mktemp("pod"), environ=environ) as running:
        yield running


@pytest.mark.parametrize("probe", ["startup", "readiness", "liveness"])
def test_a_server_that_has_started_passes_its_probes(probe: str, pod: Server) -> None:
    """After its start the server answers each probe with 200."""
    path = server(rendered("store"))[f"{probe}Probe"]["httpGet"]["path"]
    with client(pod) as asking:
        assert asking.get(path).status_code == 200


def test_the_tests_of_the_chart_pass(pod: Server) -> None:
    """The commands of ``helm test`` pass at the address of a real server."""
    hooks = [container for hook in of_kind(rendered("store"), "Pod") for container in hook["spec"]["containers"]]
    assert len(hooks) == 6
    for container in hooks:
        url = (
            container["args"][1]
            .replace("http://orris:80", pod.url)
            .replace("grpc://orris:8001", f"grpc://127.0.0.1:{pod.grpc_port}")
        )
        done = orris(container["args"][0], url, *container["args"][2:])
        assert (done.returncode, done.stderr) == (0, "")


def test_the_tests_of_the_chart_can_fail(pod: Server) -> None:
    """The commands of ``helm test`` fail for an unknown model, over V2 and over gRPC."""
    assert orris("ping", f"{pod.url}/v2/models/other/ready").returncode == 1
    assert orris("ping", f"grpc://127.0.0.1:{pod.grpc_port}/other").returncode == 1


def test_the_init_containers_pull_and_verify(iris: Bundle, tmp_path: Path) -> None:
    """The init containers pull from a store and check the digest; another digest ends the pod."""
    pull, verify = workload(rendered("store"))["spec"]["template"]["spec"]["initContainers"]
    environ = environment(pull) | {"ORRIS_STORE": str(tmp_path)}
    arguments = [
        {"iris@1.2.3": "iris@1.0.0", "gs://models/prod": str(iris.folder.parents[2])}.get(each, each)
        for each in pull["args"]
    ]
    done = orris(*arguments, **environ)
    assert done.returncode == 0, done.stderr
    arguments = [{"iris@1.2.3": "iris@1.0.0"}.get(each, each) for each in verify["args"]]
    refused = orris(*arguments, **environ)
    assert refused.returncode == 1
    assert "digest" in refused.stderr
    arguments[-1] = iris.manifest.digest
    assert orris(*arguments, **environ).returncode == 0


def test_a_service_link_would_have_stopped_the_server(iris: Bundle) -> None:
    """A service link sets ``ORRIS_PORT`` to an address, which stops the server; the pods have none."""
    done = orris("serve", str(iris.folder), ORRIS_PORT="tcp://10.0.0.1:80")
    assert done.returncode == 2
    assert "ORRIS_PORT" in done.stderr


def test_credentials_in_mounted_files_are_read(iris: Bundle, tmp_path: Path) -> None:
    """With credentials in mounted files, predictions and metrics need one and probes do not."""
    key = orris("keys", "new", "--name", "shop", "--file", str(tmp_path / "keys.toml")).stdout.split()[-1]
    (tmp_path / "token").write_text("t" * 40, "utf-8")
    issuer = Issuer()
    issuer.publish("ec")
    (tmp_path / "jwks.json").write_text(json.dumps(issuer.published), "utf-8")
    found = environment(server(rendered("secrets"))) | {"ORRIS_MODEL": str(iris.folder)}
    environ = {
        name: str(tmp_path / Path(value).name) if value.startswith("/etc/orris/") else value
        for name, value in found.items()
    }
    with serving(folder=tmp_path, environ=environ) as running, client(running) as asking:
        assert asking.get("/metrics").status_code == 401
        assert asking.get("/metrics", headers={"authorization": f"Bearer {key}"}).status_code == 200
        probes = [
            server(rendered("secrets"))[f"{probe}Probe"]["httpGet"]["path"]
            for probe in ("startup", "readiness", "liveness")
        ]
        assert [asking.get(path).status_code for path in probes] == [200, 200, 200]
        assert asking.post("/predict", json={}).status_code == httpx.codes.UNAUTHORIZED
