"""The playground: the page for browsers at ``/`` and its files, answered without FastAPI.

The files are those of ``orris/ui``: plain HTML, CSS and ES modules, read when first asked for. The page holds no data:
it asks for the model card, with a key if the server wants one, so that it may be given to anybody.
"""

from __future__ import annotations

import hashlib
from html import escape
from pathlib import Path
from urllib.parse import quote

from orris.serving.exchange import Headers, Reply
from orris.serving.pages.card import matches
from orris.serving.protocol import Credential, Get, Protocol, Target

FOLDER = Path(__file__).parents[2] / "ui"
PAGE = "index.html"

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)

_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class Playground:
    """The page and its files.

    Args:
        root_path: Path that a proxy takes off before requests come here; empty: the page's links are relative to it.

    Attributes:
        protocol: The record of the files' route.
    """

    def __init__(self, root_path: str = "") -> None:
        self._root = escape(quote(root_path)).encode()
        self._kept: dict[str, tuple[bytes, bytes]] = {}
        names = frozenset(path.name for path in FOLDER.iterdir() if path.suffix in _TYPES and path.name != PAGE)
        file = Get("/ui/{file}", Credential.NONE, answer=self._file, values=names)
        self.protocol = Protocol("playground", (file,))

    def page(self, headers: Headers, _request_id: str) -> Reply:
        """The page, under a policy that admits nothing but its own files and the server's answers."""
        extra = ((b"content-security-policy", POLICY), (b"vary", b"accept"))
        return self._reply(PAGE, headers, extra)

    def _file(self, target: Target, headers: Headers, _request_id: str) -> Reply:
        """A file of the playground."""
        return self._reply(target.name, headers, ())

    def _reply(self, name: str, headers: Headers, extra: tuple[tuple[bytes, bytes], ...]) -> Reply:
        content, etag = self._kept.get(name) or self._read(name)
        # Revalidated each time: after an upgrade no old file may meet a new one.
        told = ((b"cache-control", b"no-cache"), (b"etag", etag), *extra)
        if matches(headers, etag):
            return Reply(304, b"", _TYPES[Path(name).suffix], told)
        return Reply(200, content, _TYPES[Path(name).suffix], told)

    def _read(self, name: str) -> tuple[bytes, bytes]:
        content = (FOLDER / name).read_bytes()
        if name == PAGE and self._root:
            content = content.replace(b'="ui/', b'="%b/ui/' % self._root).replace(
                b'="docs"', b'="%b/docs"' % self._root
            )
        kept = self._kept[name] = content, b'"%b"' % hashlib.sha256(content).hexdigest()[:32].encode()
        return kept
