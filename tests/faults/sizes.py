"""How long the fault tests go on: short forms in ``make test``, long forms in ``make faults`` (``ORRIS_TEST_FAULTS=long``)."""

from __future__ import annotations

import os

LONG = os.environ.pop("ORRIS_TEST_FAULTS", "") == "long"

N_BODIES = 100_000 if LONG else 2_000
"""Generated bodies."""

N_CASES = 500 if LONG else 5
"""Requests that schemathesis makes for each operation."""

N_REQUESTS = 2_000_000 if LONG else 30_000
"""Requests over which memory has to stay flat."""

N_SWAPS = 200 if LONG else 20
"""Changes of the version under load."""

N_MEMORY_SWAPS = 300 if LONG else 50
"""Changes of the version over which memory has to stay flat."""

N_KILLS = 20 if LONG else 2
"""Workers that are killed, one after the other."""

N_STOPS = 20 if LONG else 1
"""Servers that are stopped under each kind of load."""

N_IDLE = 2_000
"""Connections on which nothing is sent."""
