"""Load tests of a running server: requests drawn from its model's schema, sent at a rate or by users, and measured.

``prepare`` asks a server what its model reads and makes requests of it; ``drive`` sends them at a rate (an open loop)
and returns a ``Run``. It is a client: it knows nothing of the server's rooms but gRPC's messages.
"""

from orris.loadtest.arrivals import Arrivals, Step
from orris.loadtest.driver import drive
from orris.loadtest.histogram import Histogram
from orris.loadtest.preparation import prepare
from orris.loadtest.run import Part, Run, Slice
from orris.loadtest.target import Target, target_of

__all__ = ["Arrivals", "Histogram", "Part", "Run", "Slice", "Step", "Target", "drive", "prepare", "target_of"]
