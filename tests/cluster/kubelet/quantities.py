"""Quantities of resources as Kubernetes writes them."""

from __future__ import annotations

_SUFFIXES = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", start=1)
}


def number(quantity: str | float) -> float:
    """CPU as processors, memory as bytes: ``250m`` is 0.25, ``512Mi`` is 536870912.

    Raises:
        ValueError: A suffix that Kubernetes does not have, or no number.
    """
    text = str(quantity)
    digits = text.rstrip("".join(_SUFFIXES))
    suffix = text[len(digits) :]
    if suffix not in _SUFFIXES:
        raise ValueError(f"'{text}' is no quantity: '{suffix}' is none of {', '.join(filter(None, _SUFFIXES))}")
    return float(digits) * _SUFFIXES[suffix]
