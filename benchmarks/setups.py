"""What ``peers.py`` measures.

The setups that ``peer.toml`` of each folder in ``peers/`` describes, and how a peer is installed.

``peer.toml`` holds ``package`` (whose pinned version names the peer's), ``order``, ``env``, and a ``[[setup]]`` for
each way to run it:

* ``title``, and ``note`` for what a reader of the table has to know; ``partial`` if its answer has probabilities, but
  not the class;
* ``command`` and ``env``, in which ``{python}``, ``{bin}`` (of the peer's environment), ``{here}`` (its folder in
  ``peers/``), ``{work}`` (what ``prepare.py`` made), ``{port}``, ``{port2}``, ``{port3}`` and ``{workers}`` are filled
  in, and whatever ``one`` and ``two`` define for one core and for both;
* ``announced``: a pattern, for a server that chooses its port itself and says it;
* ``path`` and ``body`` of a request, in which ``$rows`` (arrays), ``$row``, ``$object`` (the row by column),
  ``$objects`` and ``$n_rows`` are filled in; ``many`` is the body for many rows, if it is another one;
* ``label`` and ``probabilities``: where the answer to one row has them, as ``predictions.0.class``; without ``label``
  it is the most probable;
* ``protocol = "grpc"`` for a call of the Open Inference Protocol, which needs neither path nor body;
* ``fixed`` for a floor, whose answer is always that to the first row.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

from harness import HERE, ORRIS, clean_environment
from processes import PeerError, free_ports

PEERS = HERE / "peers"
PYTHON = "3.11"
COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")
QUIET = {"DO_NOT_TRACK": "true", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
"""In every peer's environment: no telemetry; what it says is in its log at once."""


@dataclass(frozen=True)
class Setup:
    """One way to run a server, and to ask it; see the module for the fields."""

    title: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    path: str = ""
    body: str = ""
    label: str = ""
    probabilities: str = ""
    protocol: str = "http"
    many: str = ""
    announced: str = ""
    fixed: bool = False
    note: str = ""
    partial: bool = False
    one: dict[str, str] = field(default_factory=dict)
    two: dict[str, str] = field(default_factory=dict)

    @property
    def takes_many(self) -> bool:
        """Whether one request may hold many rows."""
        return "$rows" in self.body or bool(self.many)

    def request(self, rows: list[list[float]]) -> str:
        """The body of a request with ``rows``, (n_rows, 4); only one, unless it takes many."""
        objects = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        values = {"rows": rows, "row": rows[0], "object": objects[0], "objects": objects, "n_rows": len(rows)}
        body = self.many if self.many and len(rows) > 1 else self.body
        return Template(body).substitute({key: json.dumps(value) for key, value in values.items()})

    def read(self, answer: Any) -> int:
        """The label in the answer to one row.

        Raises:
            PeerError: There is none, or the probabilities are not ones.
        """
        try:
            probabilities = _pick(answer, self.probabilities)
            label = _pick(answer, self.label) if self.label else probabilities.index(max(probabilities))
            sound = len(probabilities) == 3 and abs(sum(probabilities) - 1) < 1e-6
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise PeerError(f"an answer of another form: {json.dumps(answer)[:200]}") from None
        if not sound:
            raise PeerError(f"these are not the probabilities of three classes: {probabilities}")
        return int(label)


@dataclass(frozen=True)
class Peer:
    """A folder of ``peers/``."""

    name: str
    package: str
    order: int
    env: dict[str, str]
    setups: tuple[Setup, ...]

    @property
    def folder(self) -> Path:
        """Where it is described."""
        return PEERS / self.name

    @property
    def version(self) -> str:
        """The pinned version of its package."""
        return self.versions().get(self.package, "?")

    def versions(self) -> dict[str, str]:
        """The pinned version of every package in its environment."""
        lines = (self.folder / "requirements.txt").read_text().split()
        return dict(line.split("==") for line in lines)


def read_peers() -> list[Peer]:
    """The peers, in their order."""
    return sorted((_read(file) for file in PEERS.glob("*/peer.toml")), key=lambda peer: peer.order)


def read_ours() -> dict[str, Setup]:
    """What is measured of Orris, and the floors, by title."""
    return {setup.title: setup for setup in _setups(tomllib.loads((HERE / "ours.toml").read_text()))}


def _read(file: Path) -> Peer:
    text = tomllib.loads(file.read_text())
    return Peer(file.parent.name, text["package"], text["order"], text.get("env", {}), _setups(text))


def _setups(text: dict[str, Any]) -> tuple[Setup, ...]:
    return tuple(Setup(**{**each, "command": tuple(each["command"])}) for each in text["setup"])


class Home:
    """The cache folder: an environment, prepared files and logs for every peer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """No second run meanwhile: the two would measure each other.

        Raises:
            PeerError: There is one already.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PeerError(f"another run is using {self.folder}; wait for its end") from None
            yield

    def install(self, peer: Peer) -> None:
        """Make the peer's environment and package its model, unless both exist and its folder is unchanged.

        Raises:
            PeerError: The registry does not have it, or it cannot be prepared.
        """
        stamp = self.folder / peer.name / "prepared"
        wanted = _fingerprint(peer)
        if stamp.exists() and stamp.read_text() == wanted:
            return
        shutil.rmtree(self.work(peer), ignore_errors=True)
        self.work(peer).mkdir(parents=True)
        environment = self.folder / peer.name / "venv"
        if not (environment / "bin" / "python").exists():
            _run([_uv(), "venv", "--quiet", "--python", PYTHON, str(environment)], clean_environment())
        python = str(environment / "bin" / "python")
        _run(
            [_uv(), "pip", "sync", "--quiet", "--python", python, str(peer.folder / "requirements.txt")],
            clean_environment(),
        )
        _run([python, str(peer.folder / "prepare.py")], self.environment(peer))
        stamp.write_text(wanted)

    def work(self, peer: Peer) -> Path:
        """What ``prepare.py`` makes."""
        return self.folder / peer.name / "work"

    def log(self, peer: Peer) -> Path:
        """What its server said last."""
        return self.folder / peer.name / "server.log"

    def environment(self, peer: Peer) -> dict[str, str]:
        """The variables that the peer's processes get."""
        ours = {
            "PEER_WORK": str(self.work(peer)),
            "PYTHONPATH": str(PEERS),
            "PATH": f"{self.python(peer).parent}:{os.environ['PATH']}",
        }
        return {**clean_environment(), **QUIET, **ours, **_filled(peer.env, {"work": str(self.work(peer))})}

    def python(self, peer: Peer) -> Path:
        """The interpreter of its environment."""
        return self.folder / peer.name / "venv" / "bin" / "python"

    def launch(self, peer: Peer, setup: Setup, workers: int) -> tuple[list[str], dict[str, str], int]:
        """Command, environment and port of a setup on ``workers`` cores."""
        python = self.python(peer)
        values = {
            "python": str(python),
            "bin": str(python.parent),
            "here": str(peer.folder),
            "work": str(self.work(peer)),
        }
        command, environment, port = _fill(setup, values, workers)
        return command, {**self.environment(peer), **environment}, port


def launch_ours(store: Path, setup: Setup, workers: int) -> tuple[list[str], dict[str, str], int]:
    """Command, environment and port of one of our own setups on ``workers`` cores."""
    values = {"python": sys.executable, "orris": str(ORRIS), "benchmarks": str(HERE), "store": str(store)}
    command, environment, port = _fill(setup, values, workers)
    return command, {**clean_environment(), **environment}, port


def _fill(setup: Setup, values: dict[str, str], workers: int) -> tuple[list[str], dict[str, str], int]:
    """Command and environment with their placeholders filled in, and the port chosen."""
    port, port2, port3 = free_ports(3)
    chosen = {"port": str(port), "port2": str(port2), "port3": str(port3), "workers": str(workers)}
    filled = {**values, **chosen, **(setup.one if workers == 1 else setup.two)}
    return [part.format(**filled) for part in setup.command], _filled(setup.env, filled), port


def _filled(texts: dict[str, str], values: dict[str, str]) -> dict[str, str]:
    return {key: text.format(**values) for key, text in texts.items()}


def _pick(answer: Any, path: str) -> Any:
    for step in path.split("."):
        answer = answer[int(step)] if isinstance(answer, list) else answer[step]
    return answer


def _fingerprint(peer: Peer) -> str:
    """Of what the installation depends on."""
    files = (peer.folder / "requirements.txt", peer.folder / "prepare.py", PEERS / "model.py")
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise PeerError("uv is not installed; it is one of the development tools of Orris (make test sets them up)")
    return found


def _run(command: list[str], environment: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{Path(command[0]).name} {command[1]} took more than half an hour") from None
    if done.returncode:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise PeerError(f"{Path(command[0]).name} {Path(command[1]).name} failed: {' / '.join(said[-3:])}")
