"""The values that a dialect computes once for each version: its plan.

Used by both forms of the Open Inference Protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from orris.serving.engine import Engine

MAX_PLANS = 8
"""Versions that one route keeps the plans of."""


class _OfEngine(Protocol):
    engine: Engine


PlanT = TypeVar("PlanT", bound=_OfEngine)


class Plans(Generic[PlanT]):
    """The plans of the versions that one route has answered for.

    Args:
        make: Computes the plan of an engine; the plan keeps its engine, so no other engine can come to have its id.
    """

    def __init__(self, make: Callable[[Engine], PlanT]) -> None:
        self._make = make
        self._plans: dict[int, PlanT] = {}

    def of(self, engine: Engine) -> PlanT:
        """The plan of an engine, made with its first request."""
        plan = self._plans.get(id(engine))
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans = {}
            plan = self._plans[id(engine)] = self._make(engine)
        return plan

    def __len__(self) -> int:
        return len(self._plans)
