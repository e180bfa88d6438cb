"""How long calls of models take: one that takes too long ends its process, since a thread cannot be stopped.

``Engine.run`` notes each call. A thread looks at them; when one is overdue the process says so and ends. A supervisor
replaces it; a server of one process is started again by whatever runs it.
"""

from __future__ import annotations

import threading
from time import monotonic, sleep

from orris.serving.processes.exit import exit_now
from orris.telemetry.server_log import tell

RUNNING: dict[int, float] = {}
"""Calls of models that have not returned: monotonic time of their beginning, by thread."""

EXIT_CODE = 5
"""Exit code of a process with a call that took too long."""

LOOK_SECONDS = 0.5


def watch_calls(limit_seconds: float, who: str = "") -> None:
    """Start the thread that ends this process when a call of a model takes longer than ``limit_seconds``.

    Args:
        limit_seconds: How long one call may take.
        who: Begins what is said: the worker's name.
    """

    def look() -> None:
        while True:
            sleep(min(LOOK_SECONDS, limit_seconds / 4))
            longest = monotonic() - min(list(RUNNING.values()), default=monotonic())
            if longest > limit_seconds:
                tell(
                    f"{who}a call of the model has taken more than {limit_seconds:g} s (ORRIS_CALL_SECONDS) and cannot"
                    " be stopped: this process ends",
                    "error",
                )
                exit_now(EXIT_CODE)

    threading.Thread(target=look, name="orris-calls", daemon=True).start()
