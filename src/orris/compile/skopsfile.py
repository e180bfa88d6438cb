"""Writing a fitted pipeline as a skops file; ``orris.trust`` reads it back and says which types it may hold."""

from __future__ import annotations

from typing import Any

from orris import trust
from orris.errors import CompileError


def write(pipeline: Any) -> bytes:
    """The fitted pipeline as a skops file: data, never code.

    Raises:
        CompileError: It holds a type that a server would not construct, which the message names, or one that skops
            cannot write.
    """
    from skops.io import dumps  # noqa: PLC0415

    try:
        content = bytes(dumps(pipeline))
        refused = trust.untrusted(content)
    except Exception as error:
        raise CompileError(f"skops does not write this pipeline: {type(error).__name__}: {error}") from error
    if refused:
        raise CompileError(
            f"this pipeline can neither be compiled nor be read back safely: it holds {', '.join(refused)}; "
            "use steps of scikit-learn that are compiled, or that skops trusts"
        )
    return content
