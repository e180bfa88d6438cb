"""What can be started locally to look at Orris.

Prometheus with our rules, and a console with our dashboards (``make observability``).

``python tools/observability.py [--targets localhost:8000,…] [--port 9090] [--interval 5s]``. The configuration is
``observability/prometheus/prometheus.yml`` with these in place; the console is
``observability/prometheus/console.html``, which Prometheus itself serves. The tests start theirs with ``started``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlencode

import yaml

FOLDER = Path(__file__).parents[1] / "observability"
CONFIGURATION = FOLDER / "prometheus" / "prometheus.yml"
OLD_NAMES = FOLDER / "old-names"
CONSOLE = "/user/prometheus/console.html"
MISSING = (
    "Prometheus is not installed.  Debian: apt-get install --no-install-recommends prometheus  |  macOS: brew install"
    " prometheus"
)

Targets: TypeAlias = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; raises ``ValueError`` with Prometheus' words if the query is wrong."""
        address = f"{self.url}/api/v1/{path}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 (our own process)
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{json.load(error)['error']}: {parameters}") from error

    def query(self, expr: str) -> list[Any]:
        """The series of an instant query."""
        found: list[Any] = self.get("query", query=expr)["result"]
        return found


def configuration(targets: Targets, interval: str, *, old_names: bool = False) -> str:
    """The shipped configuration with other targets and another interval, for a file anywhere.

    With ``old_names`` also the names and labels of ``observability/old-names``.
    """
    made = yaml.safe_load(CONFIGURATION.read_text("utf-8"))
    made["global"] = {"scrape_interval": interval, "evaluation_interval": interval}
    made["rule_files"] = [str((CONFIGURATION.parent / pattern).resolve()) for pattern in made["rule_files"]]
    made["scrape_configs"][0]["static_configs"] = [
        {"targets": [target], "labels": dict(labels)} for target, labels in targets.items()
    ]
    if old_names:
        made["rule_files"].append(str(OLD_NAMES / "rules.yaml"))
        relabelings = yaml.safe_load((OLD_NAMES / "relabelings.yaml").read_text("utf-8"))
        made["scrape_configs"][0]["metric_relabel_configs"] = relabelings
    return yaml.safe_dump(made)


@contextmanager
def started(
    targets: Targets, folder: Path, *, port: int = 0, interval: str = "5s", old_names: bool = False
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets, once it answers, until the block ends.

    Args:
        targets: ``host:port`` of each Orris, with the labels that its series get.
        folder: Where its configuration, its data and its log go.
        port: Where it listens, on the loopback interface only; 0: a free one.
        interval: Between scrapes, and between evaluations of the rules.
        old_names: Whether the reference projects' names are recorded as well (``observability/old-names``).
    """
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(configuration(targets, interval, old_names=old_names), "utf-8")
    port = port or _free()
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    command += [f"--web.user-assets={FOLDER}", "--enable-feature=exemplar-storage"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
    running = Prometheus(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(running)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(running: Prometheus, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up and running.process.poll() is None:
        try:
            with urllib.request.urlopen(f"{running.url}/-/ready", timeout=5):  # noqa: S310
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    said = running.log.read_text("utf-8").splitlines()[-5:]
    raise RuntimeError("\n".join(["Prometheus did not start; its last lines:", *said]))


def _answers(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False


def main() -> int:
    """Start, say where to look, and wait for Ctrl-C; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Start a Prometheus beside Orris, with the rules of observability/alerts."
    )
    parser.add_argument("--targets", default="localhost:8000", help="host:port of each Orris, with commas")
    parser.add_argument("--port", type=int, default=9090, help="where Prometheus listens; 0: a free one")
    parser.add_argument("--interval", default="5s", help="time between two scrapes")
    parser.add_argument("--old-names", action="store_true", help="record the reference projects' names as well")
    wanted = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell that starts it in the background has it ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    targets = wanted.targets.split(",")
    if shutil.which("prometheus") is None:
        print(MISSING)
        return 1
    if wanted.port and _answers(f"127.0.0.1:{wanted.port}"):
        print(
            f"Port {wanted.port} is taken, perhaps by a Prometheus already; try another:  make observability"
            " PROMETHEUS_PORT=9091"
        )
        return 1
    for target in targets:
        if not _answers(target):
            print(f"Nothing answers at {target} yet:  make demo  in another terminal starts an Orris there.")
    with tempfile.TemporaryDirectory(prefix="orris-prometheus-") as folder:
        try:
            with started(
                {target: {} for target in targets},
                Path(folder),
                port=wanted.port,
                interval=wanted.interval,
                old_names=wanted.old_names,
            ) as running:
                print(f"Console: alerts, dashboards  {running.url}{CONSOLE}")
                print(f"Queries                      {running.url}/graph")
                print(
                    f"Prometheus scrapes {wanted.targets} every {wanted.interval}. Ctrl-C ends it; its data is not"
                    " kept.",
                    flush=True,
                )
                running.process.wait()
                print(running.log.read_text("utf-8")[-2000:])
                return 1
        except RuntimeError as error:
            print(error)
            return 1
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
