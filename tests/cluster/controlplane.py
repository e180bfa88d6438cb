"""Starts and ends a real control plane on 127.0.0.1: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

Each start is a fresh cluster in a folder of its own, on free ports, so that several may run at once. No containers run:
what plays the kubelet is up to the caller (``tests.cluster.nodes`` says that pods run).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from tests.cluster.api import Api, Object
from tests.cluster.programs import program

NODES = 4
QUICK_AUTOSCALER = (
    # Sees CPU anew every 5 s in place of 15, so that a test of autoscaling takes seconds.
    "--horizontal-pod-autoscaler-sync-period=5s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=1s",
)


@dataclass
class Cluster:
    """A running cluster: its API, its kubeconfig, and the folder with certificates (``pki``) and ``logs``."""

    home: Path
    kubeconfig: Path
    api: Api
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """Variables for kubectl, Helm and scripts: this cluster and no other."""
        bin_folder = program("kubectl").parent
        own = {"KUBECONFIG": str(self.kubeconfig), "PATH": f"{bin_folder}:{os.environ['PATH']}"}
        return (
            dict(os.environ)
            | own
            | {f"HELM_{each}_HOME": str(self.home / "helm") for each in ("CACHE", "CONFIG", "DATA")}
        )

    def start(self, name: str, *command: str | Path, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a process that ends with the cluster; its output goes to ``logs/NAME.log``."""
        logs = self.home / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(each) for each in command],
                cwd=self.home,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | (environ or {}),
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End every process, the last one first."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """What kubectl prints.

        Raises:
            AssertionError: It failed; the message is what it said.
        """
        done = subprocess.run(
            [program("kubectl"), *arguments],
            input=given,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, objects: list[Object]) -> None:
        """Apply objects as kubectl does."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "--filename", "-", given=yaml.safe_dump_all(objects)
        )


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificate(folder: Path, name: str, subject: str, extensions: str) -> None:
    """Write ``NAME.crt`` and ``NAME.key``, signed by the cluster's authority."""
    _openssl(
        folder,
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        f"{name}.key",
        "-out",
        f"{name}.csr",
        "-subj",
        subject,
    )
    (folder / f"{name}.ext").write_text(extensions, "utf-8")
    signing = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    _openssl(folder, *signing, "-days", "30", "-out", f"{name}.crt", "-extfile", f"{name}.ext")


def certificates(folder: Path) -> None:
    """Write the cluster's authority, and the certificates of the API server, its aggregator and an administrator."""
    folder.mkdir(parents=True)
    authority = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt"]
    _openssl(folder, *authority, "-days", "30", "-subj", "/CN=cluster")
    names = "subjectAltName=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1"
    certificate(folder, "server", "/CN=kube-apiserver", f"extendedKeyUsage=serverAuth,clientAuth\n{names}\n")
    certificate(folder, "admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n")
    certificate(folder, "front", "/CN=front-proxy-client", "extendedKeyUsage=clientAuth\n")
    _openssl(folder, "genrsa", "-out", "sa.key", "2048")
    _openssl(folder, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _kubeconfig(home: Path, port: int) -> Path:
    pki = home / "pki"
    path = home / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "local",
                "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(pki / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": "admin",
                "user": {"client-certificate": str(pki / "admin.crt"), "client-key": str(pki / "admin.key")},
            }
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
        "current-context": "local",
    }
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def _api_server(cluster: Cluster, port: int, etcd_port: int) -> None:
    pki = cluster.home / "pki"
    cluster.start(
        "kube-apiserver",
        cluster.home / "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--tls-cert-file={pki}/server.crt",
        f"--tls-private-key-file={pki}/server.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-key-file={pki}/sa.pub",
        f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",
        f"--requestheader-client-ca-file={pki}/ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        f"--proxy-client-cert-file={pki}/front.crt",
        f"--proxy-client-key-file={pki}/front.key",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
    )


def _controllers(cluster: Cluster, manager_port: int, scheduler_port: int, quick_autoscaler: bool) -> None:
    pki = cluster.home / "pki"
    access = [f"--{each}kubeconfig={cluster.kubeconfig}" for each in ("", "authentication-", "authorization-")]
    shared = [*access, "--bind-address=127.0.0.1", "--leader-elect=false"]
    cluster.start(
        "kube-controller-manager",
        cluster.home / "kube-controller-manager",
        *shared,
        f"--secure-port={manager_port}",
        f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt",
        "--use-service-account-credentials=true",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        *(QUICK_AUTOSCALER if quick_autoscaler else ()),
    )
    cluster.start("kube-scheduler", cluster.home / "kube-scheduler", *shared, f"--secure-port={scheduler_port}")


def _ready(cluster: Cluster, seconds: float = 180) -> None:
    """Wait until the API server is ready.

    Raises:
        AssertionError: It is not ready in time, or one of the processes has ended.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for process in cluster.processes:
            assert process.poll() is None, f"{process.args!r} ended: see {cluster.home / 'logs'}"
        with contextlib.suppress(httpx.HTTPError):
            if cluster.api.client.get("/readyz").status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise AssertionError(f"kube-apiserver is not ready after {seconds:.0f} s: see {cluster.home / 'logs'}")


def nodes(count: int = NODES) -> list[Object]:
    """Nodes in two zones, as a kubelet registers them."""
    capacity = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": f"node-{number}",
                "labels": {
                    "kubernetes.io/hostname": f"node-{number}",
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/os": "linux",
                    "topology.kubernetes.io/zone": f"zone-{number % 2}",
                },
            },
            "status": {"capacity": capacity, "allocatable": capacity},
        }
        for number in range(count)
    ]


@contextlib.contextmanager
def control_plane(home: Path, *, quick_autoscaler: bool = True) -> Iterator[Cluster]:
    """A fresh cluster in a folder that must not exist yet: its API server is ready, and its nodes are registered.

    Raises:
        MissingProgramError: A program has not been built.
        AssertionError: A process ended, or the API server was not ready in time.
    """
    kubernetes = program("kube-cp")
    etcd = program("etcd")
    certificates(home / "pki")
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        (home / name).symlink_to(kubernetes)
    client_port, peer_port, port, manager_port, scheduler_port = free_ports(5)
    kubeconfig = _kubeconfig(home, port)
    cluster = Cluster(home, kubeconfig, Api(kubeconfig))
    try:
        client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        cluster.start(
            "etcd", etcd, "--data-dir", home / "etcd", "--unsafe-no-fsync", "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}",
        )  # fmt: skip
        _api_server(cluster, port, client_port)
        _ready(cluster)
        _controllers(cluster, manager_port, scheduler_port, quick_autoscaler)
        for node in nodes():
            cluster.api.call("POST", "/api/v1/nodes", node)
        yield cluster
    finally:
        cluster.api.client.close()
        cluster.stop()
        shutil.rmtree(home / "etcd", ignore_errors=True)
