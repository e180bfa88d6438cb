"""The version of the next release: the newest tag raised by one part, or the one that was asked for.

``git tag | python tools/next_version.py patch|minor|major``, or ``… custom 2.0.0-rc.1``. Tags are ``v`` and a semantic
version (semver.org); other tags are passed over. Prints the version without the ``v``: it names the model, the image
and the chart as well.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

_NUMBER = r"(0|[1-9]\d*)"
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
# Without build metadata: a container's tag cannot hold its "+".
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?", re.ASCII)
PARTS = ("major", "minor", "patch")


def next_version(tags: Iterable[str], part: str, custom: str = "") -> str:
    """The next version.

    Args:
        tags: All tags of the repository.
        part: ``major``, ``minor``, ``patch``, or ``custom``.
        custom: The version itself, if part is ``custom``; a ``v`` before it does no harm.

    Raises:
        ValueError: The part is unknown, the custom version is none or is taken; says what is wrong.
    """
    taken = [tag.strip().removeprefix("v") for tag in tags if tag.strip().startswith("v")]
    if part == "custom":
        wanted = custom.strip().removeprefix("v")
        if not _VERSION.fullmatch(wanted) or len(wanted) > 128:
            raise ValueError(f"{custom!r} is no semantic version such as 1.4.0 or 2.0.0-rc.1")
        if wanted in taken:
            raise ValueError(f"v{wanted} is there already; a release is never replaced")
        return wanted
    if part not in PARTS:
        raise ValueError(f"{part!r}: major, minor, patch or custom is needed")
    if custom.strip():
        raise ValueError(f"{custom!r} is given, but the part is {part}: choose custom, or leave the version out")
    found = [_VERSION.fullmatch(version) for version in taken]
    released = [tuple(int(number) for number in match.groups()[:3]) for match in found if match and match[4] is None]
    numbers = list(max(released, default=(0, 0, 0)))
    at = PARTS.index(part)
    return ".".join(map(str, [*numbers[:at], numbers[at] + 1, *[0] * (2 - at)]))


def main(arguments: list[str]) -> int:
    """Print the version; 2 for wrong usage."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(next_version(sys.stdin, *arguments))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
