"""What Schemathesis cannot read from the document: a table in CSV, and that an answer has to be a finite number."""

from __future__ import annotations

import math
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

LARGEST = 1e6
"""Largest generated number: of larger ones, a model's answer may not be finite, which is refused."""

schemathesis.openapi.media_type("text/csv", st.just(os.environ["ORRIS_TEST_CSV"].encode()))


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    """Bound the numbers of a generated body."""
    return bounded(body)


def bounded(value: Any) -> Any:
    """Return a JSON value with bounded numbers."""
    if isinstance(value, dict):
        return {key: bounded(member) for key, member in value.items()}
    if isinstance(value, list):
        return [bounded(member) for member in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) > LARGEST:
        return type(value)(math.copysign(LARGEST, value))
    return value
