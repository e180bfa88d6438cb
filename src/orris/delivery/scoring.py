"""Compares a version's metrics with the live version's, in the direction that ``orris.metrics`` gives.

The gates use it, and so do ``orris models compare`` and a promotion's report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orris.errors import SettingsError
from orris.metrics import direction

DEFAULT_TOLERANCE = 0.02
"""Tolerance relative to the live value.

Two models of the same quality differ by about as much by chance on a few hundred rows.
"""

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Score:
    """One metric of two versions.

    Attributes:
        name: The metric's name.
        live: The live version's value; ``None``: it was not measured.
        candidate: The other's.
        direction: 1: higher is better; -1: lower is better; 0: it is shown and not judged.
        worse: Judged, and worse by more than is tolerated, or no longer measured.
    """

    name: str
    live: float | None
    candidate: float | None
    direction: int
    worse: bool


def compare(
    live: Mapping[str, float], candidate: Mapping[str, float], tolerance: float, judged: Sequence[str] = ()
) -> list[Score]:
    """Hold a candidate's metrics against the live version's.

    Args:
        live: Metrics of the live version.
        candidate: Metrics of the version that is to replace it.
        tolerance: How much worse a metric may be, as a share of the live value's magnitude.
        judged: Names of the metrics that count; none: all with a known direction, but not the means over folds, which
            say the same again.

    Raises:
        SettingsError: A judged metric was measured for neither, or no direction is known for it.
    """
    for name in judged:
        if name not in live and name not in candidate:
            raise SettingsError(
                f"--metric {name}: measured for neither version; there are {', '.join(sorted({*live, *candidate}))}"
            )
        if not direction(name):
            raise SettingsError(f"--metric {name}: whether higher or lower is better is not known; judge another one")
    found = []
    for name in dict.fromkeys([*live, *candidate]):
        counts = name in judged if judged else not name.startswith("cv_")
        way = direction(name) if counts else 0
        old, new = live.get(name), candidate.get(name)
        found.append(Score(name, old, new, way, bool(way) and old is not None and _worse(old, new, way, tolerance)))
    return found


def _worse(live: float, candidate: float | None, way: int, tolerance: float) -> bool:
    # Written so that a value that is no number does not pass.
    return candidate is None or not (live - candidate) * way <= tolerance * abs(live) + _ROUNDING
