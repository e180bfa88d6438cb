"""How much one replica of a server takes, and what follows for a deployment: limits, replicas, autoscalers, cost.

``measure`` raises the rate of an open loop until latency departs, ``Scalability.fitted`` describes what was measured,
and ``make_plan`` derives the numbers of a values file for the chart from it.
"""

from orris.capacity.measuring import Measurements, Point, measure
from orris.capacity.planning import Demand, Plan, make_plan
from orris.capacity.reasons import Line, lines_of, warnings_of
from orris.capacity.report import document, write_plan
from orris.capacity.running import measure_model, measure_url
from orris.capacity.scalability import Scalability

__all__ = [
    "Demand",
    "Line",
    "Measurements",
    "Plan",
    "Point",
    "Scalability",
    "document",
    "lines_of",
    "make_plan",
    "measure",
    "measure_model",
    "measure_url",
    "warnings_of",
    "write_plan",
]
