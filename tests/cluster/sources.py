"""Serves on 127.0.0.1 what Flux reads: git repositories, charts of an OCI registry, and a chart repository's index.

Git is ``git http-backend`` (smart HTTP); the registry answers what a pull asks, by the OCI distribution specification.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import yaml

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.cncf.helm.config.v1+json"
CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


class Charts:
    """Packaged charts, which an OCI registry and a chart repository offer."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.packages: dict[str, bytes] = {}
        self.entries: dict[str, list[dict[str, object]]] = {}

    def _blob(self, content: bytes, media_type: str) -> dict[str, object]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[digest] = content
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def add(self, package: Path) -> None:
        """Offer a chart that ``helm package`` wrote, under its name and version."""
        with tarfile.open(package) as tar:
            member = next(each for each in tar if each.name.count("/") == 1 and each.name.endswith("/Chart.yaml"))
            file = tar.extractfile(member)
            assert file is not None
            chart = yaml.safe_load(file.read())
        layer = self._blob(package.read_bytes(), CHART)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(json.dumps(chart).encode(), CONFIG),
            "layers": [layer],
        }
        content = json.dumps(manifest).encode()
        for reference in (chart["version"], f"sha256:{hashlib.sha256(content).hexdigest()}"):
            self.manifests[chart["name"], reference] = content
        self.packages[package.name] = package.read_bytes()
        digest = str(layer["digest"]).removeprefix("sha256:")
        self.entries.setdefault(chart["name"], []).append(chart | {"urls": [package.name], "digest": digest})

    def index(self) -> bytes:
        """The ``index.yaml`` of a chart repository."""
        return yaml.safe_dump({"apiVersion": "v1", "entries": self.entries}).encode()

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """The media type and the content of a path of the registry or the repository, if there is one."""
        parts = path.strip("/").split("/")
        if parts == ["v2"]:
            return "application/json", b"{}"
        if path == "/helm/index.yaml":
            return "application/yaml", self.index()
        if parts[0] == "helm" and parts[-1] in self.packages:
            return "application/gzip", self.packages[parts[-1]]
        if parts[0] == "v2" and parts[-2] == "manifests":
            found = self.manifests.get((parts[-3], parts[-1]))
            return (MANIFEST, found) if found else None
        if parts[-2:-1] == ["blobs"] and parts[-1] in self.blobs:
            return "application/octet-stream", self.blobs[parts[-1]]
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    repositories: Path
    charts: Charts

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve(b"")

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        body = self._chunks() if "chunked" in self.headers.get("transfer-encoding", "") else self._body()
        self._serve(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _serve(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        if path.startswith("/git/"):
            self._git(path.removeprefix("/git"), query, body)
            return
        found = self.charts.answer(path)
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, {"Content-Type": "application/json"}, b'{"errors": []}')
            return
        digest = f"sha256:{hashlib.sha256(found[1]).hexdigest()}"
        self._send(HTTPStatus.OK, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def _git(self, path: str, query: str, body: bytes) -> None:
        """Answer by git's own program for it, a CGI script."""
        environ = {
            "GIT_PROJECT_ROOT": str(self.repositories),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, check=False, env=os.environ | environ
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(headers.pop("Status", "200 OK").split()[0])
        self._send(HTTPStatus(status), headers, content)

    def _send(self, status: HTTPStatus, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextlib.contextmanager
def serving(repositories: Path, charts: Charts) -> Iterator[str]:
    """Serve the git repositories of a folder and some charts; gives ``HOST:PORT``."""
    handler = type("Handler", (_Handler,), {"repositories": repositories, "charts": charts})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="sources", daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
