"""How this Orris is installed and called: commands in messages are given in a form that works here."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit


def command() -> str:
    """``orris`` where that finds this installation; otherwise the path of its script, or ``python -m orris``."""
    script = Path(sys.executable).parent / "orris"
    found = shutil.which("orris")
    if found is not None and Path(found).parent.resolve() == script.parent.resolve():
        return "orris"
    return _near(script) if script.exists() else f"{_near(Path(sys.executable))} -m orris"


def install_extra(extra: str) -> str:
    """The command that installs an extra: from the checkout or the file that Orris was installed from, or by name."""
    pip = "pip" if _has_pip_on_path() else f"{_near(Path(sys.executable))} -m pip"
    checkout, archive = _origin()
    if checkout:
        return f"{pip} install -e '{_near(Path(checkout))}[{extra}]'"
    if archive:
        return f"{pip} install 'orris[{extra}] @ {archive}'"
    return f"{pip} install 'orris[{extra}]'"


def _origin() -> tuple[str, str]:
    """The folder of an editable installation, or the URL of the file that was installed (PEP 610); empty: neither."""
    try:
        text = metadata.distribution("orris").read_text("direct_url.json")
        document = json.loads(text) if text else {}
    except (metadata.PackageNotFoundError, OSError, ValueError):
        return "", ""
    url = str(document.get("url", ""))
    if document.get("dir_info", {}).get("editable"):
        return unquote(urlsplit(url).path), ""
    return "", url if "archive_info" in document and Path(unquote(urlsplit(url).path)).is_file() else ""


def _has_pip_on_path() -> bool:
    found = shutil.which("pip")
    return found is not None and Path(found).parent.resolve() == Path(sys.executable).parent.resolve()


def _near(path: Path) -> str:
    """A path as a person in the working directory types it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative if relative != "." else "."
