"""Runs the tutorial's commands and records what they print: ``docs/recording.md``.

``python -m tools.recording`` writes the page; it takes about half a minute. A test runs the commands again and compares
what they print with the page, numbers apart.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "recording.md"
HEAD = """\
# The tutorial, recorded

What the commands of [the tutorial](tutorial.md) print, from the first training to a rollback. The page is made by
running them (`python -m tools.recording`), and a test runs them again: only times, measured numbers and dates differ
from one machine to another.
"""

_SECTION = re.compile(r"^## \d+\. (?P<title>.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```bash\n(?P<lines>.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = "8000"
_SET_UP = ("make ", ". ")
"""Commands that were run before: they install what the others need."""

_SECONDS = 60


def commands(tutorial: str) -> Iterator[tuple[str, list[str]]]:
    """The title and the commands of each section of the tutorial."""
    parts = _SECTION.split(tutorial)
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for block in _BLOCK.finditer(text) for line in block["lines"].splitlines()]
        kept = [line for line in lines if not line.startswith(_SET_UP)]
        if kept:
            yield title, kept


def record(tutorial: str) -> str:
    """Run the tutorial's commands in a fresh folder, and return the page.

    Raises:
        RuntimeError: A command failed, or the server did not start.
    """
    parts = [HEAD]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").mkdir()
        shutil.copy(ROOT / "data" / "iris.csv", folder / "data" / "iris.csv")
        with _Session(folder) as session:
            for title, lines in commands(tutorial):
                parts.append(f"## {title}\n")
                for line in lines:
                    text = session.run(line).rstrip()
                    parts.append(f"```console\n$ {line}\n{text}\n```\n")
    return "\n".join(parts)


def masked(page: str) -> str:
    """The page without what differs from run to run: numbers, and the words that follow from them."""
    text = re.sub(r"\d[\d,.]*(e[+-]?\d+)?", "#", page)
    text = re.sub(r"# (µs|ms|s)\b", "# time", text)
    text = re.sub(r"# times (faster|slower)|equally fast", "# times", text)
    text = re.sub(r"[0-9a-f#]{8,}", "#", text)
    return "\n".join(" ".join(re.sub(r"[─-]{2,}", "-", line).split()) for line in text.splitlines())


class _Session:
    """A folder in which commands run one after the other; a server stays until the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen[str] | None = None
        with socket.socket() as http, socket.socket() as grpc:
            for each in (http, grpc):
                each.bind(("127.0.0.1", 0))
            self._port, self._grpc_port = (str(each.getsockname()[1]) for each in (http, grpc))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ORRIS_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
        ports = {"ORRIS_PORT": self._port, "ORRIS_GRPC_PORT": self._grpc_port}
        self._environment = kept | ports | {"PATH": path, "VIRTUAL_ENV": sys.prefix}  # as after activating it

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(_SECONDS)
            if self._server.stderr is not None:
                self._server.stderr.close()

    def run(self, command: str) -> str:
        """Run a command, and return what it prints; ``orris serve`` is left running."""
        if command.startswith("orris serve"):
            return self._serve(command)
        asked = command.replace(f"localhost:{_PORT}", f"localhost:{self._port}")
        if asked.startswith("curl "):
            asked = asked.replace("curl ", "curl -sS ", 1)  # no progress meter, as in a terminal
        done = subprocess.run(  # noqa: S603 (the tutorial's own commands)
            shlex.split(asked),
            cwd=self._folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS * 5,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stdout}")
        return self._shown(done.stdout)

    def _serve(self, command: str) -> str:
        server = self._server = subprocess.Popen(  # noqa: S603 (as above)
            command.split(),
            cwd=self._folder,
            env=self._environment,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert server.stderr is not None  # noqa: S101 (asked for above)
        said = []
        for line in server.stderr:
            said.append(line)
            if f"localhost:{self._port}" in line:
                time.sleep(0.5)  # what follows the announcement is printed with it
                os.set_blocking(server.stderr.fileno(), False)
                said += server.stderr.readlines()
                return self._shown("".join(said))
        raise RuntimeError(f"{command} did not start:\n{''.join(said)}")

    def _shown(self, text: str) -> str:
        """What was printed, without the folder and the ports of this run."""
        text = text.replace(f"{self._folder}/", "").replace(f"localhost:{self._port}", f"localhost:{_PORT}")
        text = text.replace(f"port {self._grpc_port}", "port 8001")
        return "\n".join(line.rstrip() for line in text.splitlines())


def main() -> None:
    """Write the page."""
    PAGE.write_text(record((ROOT / "docs" / "tutorial.md").read_text("utf-8")), "utf-8")
    print(f"Wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
