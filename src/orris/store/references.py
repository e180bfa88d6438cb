"""Names, versions and references: which model is meant, and the only way a user's text becomes part of a path.

A reference is ``NAME`` (its newest version), ``NAME@VERSION``, ``NAME:ALIAS``, or nothing at all: the newest version of
the only model. Versions follow SemVer 2.0.0 (https://semver.org) without build metadata, so that each is also a valid
container tag; the third number may be a timestamp with an underscore, as in ``1.0.20250508_171813``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from orris.errors import MalformedReferenceError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,127}")
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_TIMESTAMP = r"[0-9]{8}_[0-9]{6}"
_VERSION = re.compile(rf"({_NUMBER})\.({_NUMBER})\.({_TIMESTAMP}|{_NUMBER})(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?")
_MAX_VERSION_CHARACTERS = 128

VersionKey = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]
"""Sorts as SemVer orders versions: numbers by value, a pre-release before its release."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One published version of one model; prints as ``NAME@VERSION``."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A parsed reference that has not been looked up yet; empty fields were left open."""

    name: str = ""
    version: str = ""
    alias: str = ""


def check_name(name: str) -> str:
    """Return ``name``; raise ``MalformedReferenceError`` unless it is a name (``[a-z0-9][a-z0-9._-]*``, up to 128)."""
    if not _NAME.fullmatch(name):
        raise MalformedReferenceError(
            f"model name {name!r}: use lower-case letters, digits, '.', '_' and '-', beginning with a letter or digit"
            " (up to 128)"
        )
    return name


def check_alias(alias: str) -> str:
    """Return ``alias``; raise ``MalformedReferenceError`` unless it is an alias (``[a-z][a-z0-9._-]*``, up to 128)."""
    if not _ALIAS.fullmatch(alias):
        raise MalformedReferenceError(
            f"alias {alias!r}: use lower-case letters, digits, '.', '_' and '-', beginning with a letter (up to 128)"
        )
    return alias


def check_version(version: str) -> str:
    """Return ``version``; raise ``MalformedReferenceError`` unless it is SemVer without build metadata (up to 128)."""
    version_key(version)
    return version


def as_version(text: str) -> str:
    """A version as a person writes it, without a leading ``v``; raises as ``check_version`` does."""
    return check_version(text[1:] if text[:1] in {"v", "V"} and text[1:2].isdigit() else text)


def is_name(text: str) -> bool:
    """Whether ``text`` is a model name."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Whether ``text`` is a version that a store may hold."""
    return len(text) <= _MAX_VERSION_CHARACTERS and _VERSION.fullmatch(text) is not None


def version_key(version: str) -> VersionKey:
    """The sort key of ``version`` (SemVer 2.0.0, section 11).

    Raises:
        MalformedReferenceError: It is no version that a store may hold.
    """
    found = _VERSION.fullmatch(version) if len(version) <= _MAX_VERSION_CHARACTERS else None
    if found is None:
        raise MalformedReferenceError(
            f"version {version!r}: use SemVer such as 1.4.0 or 2.0.0-rc.1, without '+', up to 128 characters"
        )
    major, minor, patch, before = found.groups()
    identifiers = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in (before or "").split(".") if part
    )
    return int(major), int(minor), int(patch.replace("_", "")), before is None, identifiers


def newest(versions: Iterable[str]) -> str:
    """The highest release among ``versions``, or the highest pre-release if there is no release.

    At least one version is needed.
    """
    return max(versions, key=lambda version: (version_key(version)[3], version_key(version)))


def parse(reference: str) -> Wanted:
    """Read ``""``, ``NAME``, ``NAME@VERSION`` or ``NAME:ALIAS``; raises ``MalformedReferenceError``."""
    if not reference:
        return Wanted()
    if "@" in reference:
        name, version = reference.split("@", 1)
        return Wanted(check_name(name), version=as_version(version))
    if ":" in reference:
        name, alias = reference.split(":", 1)
        return Wanted(check_name(name), alias=check_alias(alias))
    return Wanted(check_name(reference))
