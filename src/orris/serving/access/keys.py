"""API keys: made here, kept as hashes in a file, looked up for every request.

The file is TOML, a key a line, so that a line can be added and taken away by hand::

    ci      = { sha256 = "9f86d0…" }
    billing = { sha256 = "60303a…", rate = 50, burst = 100, expires = 2027-01-01T00:00:00Z }
    ops     = { sha256 = ["4e0740…", "ef2d12…"], admin = true }

A key is 32 random bytes. Nobody can guess one from its hash, however fast the hash, so a plain SHA-256 is right: slow,
salted hashes (bcrypt, scrypt) make up for the little randomness of passwords, and would cost every request
milliseconds.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import logging
import math
import re
import secrets
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec

from orris.errors import SettingsError
from orris.serving.access.caller import Caller
from orris.serving.access.watched import WatchedFile

PREFIX = "orris_"
"""The prefix of every key, by which scanners of repositories find a leaked one."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of keys: what TOML takes without quotes."""

_PREFIX_BYTES = 8
_LINE = re.compile(r"""\s*\[?\s*["']?([A-Za-z0-9_-]+)["']?\s*[=\].]""")

_HINTS = {
    "sha256": "; the hash of a key is 64 digits 0-9 a-f: make one with  orris keys new",
    "expires": "; a time with its zone is needed, as in  2027-01-01T00:00:00Z",
}

logger = logging.getLogger(__name__)

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A key's entry in the file."""

    sha256: Digest | Annotated[list[Digest], msgspec.Meta(min_length=1, max_length=8)]
    rate: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    burst: Annotated[int, msgspec.Meta(ge=1)] | None = None
    expires: Annotated[datetime.datetime, msgspec.Meta(tz=True)] | None = None
    admin: bool = False


def new_key() -> str:
    """A new key: ``orris_`` and 32 random bytes in base64url."""
    return PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode("ascii")


def digest_of(key: bytes) -> bytes:
    """The hash that stands for a key."""
    return hashlib.sha256(key).digest()


class KeyRing:
    """Callers by their keys' hashes.

    Args:
        callers: ``(hash, caller)`` of every key.
    """

    def __init__(self, callers: list[tuple[bytes, Caller]]) -> None:
        self._found: dict[bytes, list[tuple[bytes, Caller]]] = {}
        for digest, caller in callers:
            self._found.setdefault(digest[:_PREFIX_BYTES], []).append((digest, caller))
        self.has_admin = any(caller.admin for _, caller in callers)

    def __len__(self) -> int:
        """Hashes."""
        return sum(map(len, self._found.values()))

    def find(self, key: bytes) -> Caller | None:
        """The owner of a key, whatever its length and characters; ``None`` if the key is unknown.

        The table is entered with the first eight bytes of the hash, the rest is compared in constant time: how long it
        takes tells nothing about a key, since nobody can choose a key by its hash.
        """
        digest = hashlib.sha256(key).digest()
        for held, caller in self._found.get(digest[:_PREFIX_BYTES], ()):
            if hmac.compare_digest(held, digest):
                return caller
        return None


class KeyFile:
    """The keys of a file, read again when it changes.

    Args:
        path: The file.

    Raises:
        SettingsError: It cannot be read, or is malformed; names the line.
    """

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, "file of API keys")
        self.ring = read_keys(self._file.read(), str(path))

    def refresh(self, now: float) -> None:
        """Take the keys of a changed file; those of a malformed one are not taken, and the old ones stay in force."""
        content = self._file.changed(now)
        if content is None:
            return
        try:
            self.ring = read_keys(content, str(self._file.path))
        except SettingsError as error:
            logger.error("the API keys that were read before stay in force: %s", error)
        else:
            logger.info("file of API keys %s was read again: %d keys", self._file.path, len(self.ring))


def read_keys(content: bytes, where: str) -> KeyRing:
    """The keys of a file.

    Raises:
        SettingsError: It is malformed; names file and line, and repeats no value.
    """
    try:
        text = content.decode("utf-8")
        document = tomllib.loads(text + "\n")  # so that an error in the last line has its number
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        said = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "this is no TOML in UTF-8"
        raise SettingsError(f'{where}: {said}; a key is a line  name = {{ sha256 = "…" }}') from None
    lines = _lines(text)
    callers: list[tuple[bytes, Caller]] = []
    owners: dict[bytes, str] = {}
    for name, value in document.items():
        place = f"{where}, line {lines[name]}" if name in lines else where
        if not NAME.fullmatch(name):
            raise SettingsError(f"{place}: the name of a key is 1 to 64 of the characters A-Z a-z 0-9 _ -")
        for digest, caller in _callers(name, value, place):
            if owners.setdefault(digest, name) != name:
                raise SettingsError(
                    f"{place}: key '{name}' is the same as key '{owners[digest]}'; every name needs a key of its own"
                )
            callers.append((digest, caller))
    return KeyRing(callers)


def _callers(name: str, value: object, place: str) -> list[tuple[bytes, Caller]]:
    try:
        entry = msgspec.convert(value, _Entry)
    except msgspec.ValidationError as error:
        hint = next((hint for field, hint in _HINTS.items() if f"$.{field}" in str(error)), "")
        raise SettingsError(f"{place}: key '{name}': {error}{hint}") from None
    expires = entry.expires.timestamp() if entry.expires is not None else math.inf
    caller = Caller(f"key:{name}", entry.admin, entry.rate, entry.burst, expires)
    digests = [entry.sha256] if isinstance(entry.sha256, str) else entry.sha256
    return [(bytes.fromhex(digest), caller) for digest in digests]


def _lines(text: str) -> dict[str, int]:
    """The line, from 1, on which each name stands first."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.match(line)
        if match:
            found.setdefault(match.group(1), number)
    return found
