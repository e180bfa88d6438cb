"""How much a skops file may become in memory: a file of a megabyte may inflate to gigabytes.

skops itself writes its files uncompressed. What others have compressed is read as well, up to ``MAX_RATIO`` times the
file's size, or ``MIN_BYTES``.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

MIN_BYTES = 64 * 2**20
"""Every file may become as much as this, bytes."""

MAX_RATIO = 8
"""A larger one may become so many times its own size."""

_SCHEMA = "schema.json"


def check(content: bytes) -> None:
    """Raise ``ValueError`` if a skops file would become too large: its members, and those that it reads repeatedly.

    Args:
        content: The file, a zip archive of ``schema.json`` and arrays; a sparse matrix is an archive in it.
    """
    allowed = max(MIN_BYTES, MAX_RATIO * len(content))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes: dict[str, int] = {}
        for member in archive.infolist():
            sizes[member.filename] = member.file_size
            _require(sum(sizes.values()), allowed)
        for name in sizes:
            if name.endswith(".npz"):
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as inner:
                    sizes[name] += sum(member.file_size for member in inner.infolist())
                _require(sum(sizes.values()), allowed)
        _require(_read_size(json.loads(archive.read(_SCHEMA)), sizes), allowed)


def _read_size(schema: Any, sizes: dict[str, int]) -> int:
    """Bytes that are read: a member as often as a part of another identity names it."""
    read: dict[tuple[Any, str], int] = {}
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            file = part.get("file")
            if isinstance(file, str):
                read[str(part.get("__id__")), file] = sizes.get(file, 0)
            left += part.values()
        elif isinstance(part, list):
            left += part
    return sum(read.values())


def _require(n_bytes: int, allowed: int) -> None:
    if n_bytes > allowed:
        raise ValueError(
            f"it would become {n_bytes:,} bytes, and {allowed:,} is the most for a file of its size; "
            "write it without compression"
        )
