"""``orris keys``: API keys of a server. A key is shown once; only its hash is kept."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from orris.cli.terminal import say, tell
from orris.errors import SettingsError

app = typer.Typer(help="Make API keys.", no_args_is_help=True)

_SHA256 = re.compile(r'(?<![A-Za-z0-9_-])sha256\s*=\s*("[0-9a-f]{64}"|\[[^\]]*\])')
_MODE = 0o600


@app.callback()
def options() -> None:
    """Make API keys."""


@app.command(epilog="Example:  orris keys new --name billing --file keys.toml   ·   orris serve --api-keys keys.toml")
def new(
    name: Annotated[str, typer.Option(help="Who the key is for: in logs, and what rates are counted by.")],
    file: Annotated[
        Path | None, typer.Option(help="File of API keys to add it to; without one, the line to add is printed.")
    ] = None,
    overlap: Annotated[
        bool,
        typer.Option(
            "--overlap", help="Let the name's present key stay valid beside the new one, until the next rotation."
        ),
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Let a new name load, unload and reload models.")] = False,
) -> None:
    """Make a key, print it once, and write its hash.

    A name that exists gets the new key and keeps its rate and expiry.
    """
    from orris.serving.access.keys import NAME, digest_of, new_key, read_keys  # noqa: PLC0415

    if not NAME.fullmatch(name):
        raise SettingsError("--name: the name of a key is 1 to 64 of the characters A-Z a-z 0-9 _ -")
    key = new_key()
    digest = digest_of(key.encode()).hex()
    if file is None:
        tell("Add this line to the server's file of API keys, and give the key to its owner; it is not shown again:")
        tell(f"\n  {_line(name, digest, admin)}\n")
        say(key)
        return
    before = _text(file)
    read_keys(before.encode(), str(file))  # a file that the server would refuse is not written to
    after, done = _changed(before, name, digest, admin=admin, overlap=overlap, where=str(file))
    if read_keys(after.encode(), str(file)).find(key.encode()) is None:
        raise SettingsError(f"--file {file}: key '{name}' cannot be put on its line; change it by hand")
    _replace(file, after)
    tell(
        f"{done} '{name}' in {file}; running servers take it within a second. Give the key to its owner; it is not"
        " shown again:"
    )
    say(key)


def _line(name: str, digest: str, admin: bool) -> str:
    return f'{name} = {{ sha256 = "{digest}"{", admin = true" if admin else ""} }}'


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "# API keys of orris serve: names and hashes, no keys. See docs/access.md.\n"
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--file {file}: {error}") from None


def _changed(text: str, name: str, digest: str, *, admin: bool, overlap: bool, where: str) -> tuple[str, str]:
    """The file's text with the new hash, and a phrase that says what changed; the rest of the text is unchanged."""
    import tomllib  # noqa: PLC0415

    if name not in tomllib.loads(text):
        return f"{text.rstrip()}\n{_line(name, digest, admin)}\n".lstrip(), "Added"
    if admin:
        raise SettingsError(f"{where}: key '{name}' is there already; add  admin = true  to its line by hand")
    line = re.compile(rf"""^\s*["']?{re.escape(name)}["']?\s*=.*$""", re.MULTILINE)
    found = line.search(text)
    if found is None or not _SHA256.search(found.group()):
        raise SettingsError(
            f"{where}: key '{name}' does not stand on one line  {name} = {{ sha256 = … }};  write it so, or change it"
            " by hand"
        )

    def renewed(match: re.Match[str]) -> str:
        held = re.findall("[0-9a-f]{64}", match.group())
        return f'sha256 = ["{held[-1]}", "{digest}"]' if overlap and held else f'sha256 = "{digest}"'

    return text[: found.start()] + _SHA256.sub(renewed, found.group(), count=1) + text[found.end() :], "Rotated"


def _replace(file: Path, text: str) -> None:
    """Replace the file atomically, because a server may be reading it.

    Permissions are kept; a new file is readable by its owner only.
    """
    target = file.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode & 0o777 if target.exists() else _MODE
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            written = Path(folder) / target.name
            with written.open("w", encoding="utf-8") as out:
                written.chmod(mode)
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            written.replace(target)
    except OSError as error:
        raise SettingsError(f"--file {file}: {error.strerror or error}") from None
