"""The command line: one module per command, imported when it runs.

A command parses its arguments, calls the layers below and prints.
"""

from __future__ import annotations

import sys

from orris.errors import OrrisError, SettingsError


def main() -> None:
    """Run ``orris``; exit code 0, 1 (failed) or 2 (wrong usage)."""
    from orris.cli.app import app  # noqa: PLC0415
    from orris.cli.terminal import tell  # noqa: PLC0415

    try:
        app(prog_name="orris")
    except OrrisError as error:
        tell(f"error: {error}")
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
