"""Little's law: what is in a system on average is what arrives in a second times how long it stays.

L = λ W holds for every stable system, whatever its distributions (J. D. C. Little, "A Proof for the Queuing Formula
L = λW", Operations Research 9, 1961). For N users that each wait R seconds for an answer and then think for Z seconds,
N = X (R + Z). Numbers that break it were not measured in one run, or the latency leaves something out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

TOLERANCE = 0.1
"""Ends of a run, and users that start one after the other, account for less than this share."""


@dataclass(frozen=True)
class LittlesLaw:
    """A check of three numbers that determine one another.

    Attributes:
        concurrency: Users, connections, or the mean number of requests in flight.
        throughput_per_second: Requests that ended in a second.
        response_seconds: Mean latency; NaN: it is not known.
        think_seconds: Mean time between an answer and the user's next request; 0 for an open loop.
        tolerance: Relative deviation that is no finding.
    """

    concurrency: float
    throughput_per_second: float
    response_seconds: float = math.nan
    think_seconds: float = 0.0
    tolerance: float = TOLERANCE

    @property
    def accounted_share(self) -> float:
        """X (R + Z) / N: the share of the users' time that is in the latency or in the thinking; NaN without R."""
        if not self.concurrency:
            return math.nan
        return self.throughput_per_second * (self.response_seconds + self.think_seconds) / self.concurrency

    @property
    def implied_response_seconds(self) -> float:
        """N / X - Z: the mean latency that users and throughput imply, whatever was reported."""
        if not self.throughput_per_second:
            return math.inf
        return self.concurrency / self.throughput_per_second - self.think_seconds

    @property
    def verdict(self) -> Literal["consistent", "impossible", "unaccounted", "unknown"]:
        """``impossible``: more than the users could do; ``unaccounted``: time that is in no number; or ``unknown``."""
        if self.implied_response_seconds < -self.tolerance * self.think_seconds:
            return "impossible"
        if math.isnan(self.accounted_share):
            return "unknown"
        if self.accounted_share > 1 + self.tolerance:
            return "impossible"
        return "unaccounted" if self.accounted_share < 1 - self.tolerance else "consistent"

    @property
    def words(self) -> str:
        """The finding in a sentence."""
        rate = f"{self.throughput_per_second:,.4g} requests a second"
        if self.verdict == "consistent":
            busy = f"{self.concurrency:,.4g}"
            return f"Consistent: throughput times time makes {self._accounted():,.4g} at a time, counted were {busy}."
        if self.verdict == "unknown":
            return f"Without a mean latency there is nothing to compare; {self._implied()}"
        if self.verdict == "impossible":
            return (
                f"Impossible: {rate} with this latency would keep {self._accounted():,.4g} busy, and there were"
                f" {self.concurrency:,.4g}; {self._implied()}"
            )
        return (
            f"Not accounted for: {1 - self.accounted_share:.0%} of the time lies outside the latency (connecting, a"
            f" wait in the client, or users that had not started). {self._implied()}"
        )

    def _accounted(self) -> float:
        known = 0.0 if math.isnan(self.response_seconds) else self.response_seconds
        return self.throughput_per_second * (known + self.think_seconds)

    def _implied(self) -> str:
        implied = self.implied_response_seconds
        if implied < 0:
            return f"users that think for {self.think_seconds:.3g} s cannot send so many."
        return (
            f"{self.concurrency:,.4g} at a time and {self.throughput_per_second:,.4g} requests a second mean"
            f" {implied:.3g} s for each."
        )
