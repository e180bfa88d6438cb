"""Durations of the fault tests.

/ Short forms in ``make test``, long forms in ``make faults`` (``ORRIS_TEST_FAULTS=long``).
"""

from __future__ import annotations

import os

LONG = os.environ.pop("ORRIS_TEST_FAULTS", "") == "long"

N_BODIES = 100_000 if LONG else 1_000
"""Generated bodies."""

N_REQUESTS = 2_000_000 if LONG else 20_000
"""Requests over which memory has to stay flat."""

N_SWAPS = 200 if LONG else 12
"""Changes of the version under load."""
