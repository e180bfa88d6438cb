"""Distinguishes categories from dates and free text, which no preset can learn from. Used by ``learning``."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_LEVELS = 1000
"""A text column with more levels than this is taken for free text."""

_DATE_SHARE = 0.95
_SAMPLED_VALUES = 1000
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[ap]\.?m\.?)?(?:\s?(?:z|utc|gmt|[+-]\d{2}:?\d{2}))?"
_DAY_OF_WEEK = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_TAIL = rf"(?:[t,\s]\s*{_CLOCK})?"
_DATES = (
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<first>\d{1,2})(?P=mark)(?P<second>\d{1,2})",
    r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second>\d{1,2})(?P=mark)(?P<year>\d{4})",
    r"(?P<first>\d{1,2})/(?P<second>\d{1,2})/(?P<year>\d{2})",
    r"(?P<first>\d{2})(?P<mark>[-.])(?P<second>\d{2})(?P=mark)(?P<year>\d{2})",
    rf"(?P<first>\d{{1,2}})(?:st|nd|rd|th)?[-\s]{_MONTH}[-,\s]\s*\d{{2,4}}",
    rf"{_MONTH}\s+(?P<first>\d{{1,2}})(?:st|nd|rd|th)?,?\s+\d{{4}}",
    r"(?P<year>\d{4})-(?P<first>\d{2})",
)
_PATTERNS = [
    re.compile(pattern, re.IGNORECASE) for pattern in (*(_DAY_OF_WEEK + date + _TAIL for date in _DATES), _CLOCK)
]


def are_dates(levels: Sequence[str]) -> bool:
    """Whether nearly all of the distinct values are written as dates, times or both."""
    step = max(1, len(levels) // _SAMPLED_VALUES)
    sample = levels[::step]
    return bool(sample) and sum(map(_is_date, sample)) >= _DATE_SHARE * len(sample)


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: half of a surrogate pair, as of a file read with ``surrogateescape``, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def free_text(levels: Sequence[str], n_values: int) -> str | None:
    """Why the distinct values of a column with ``n_values`` present values are no categories, or ``None``."""
    n_levels = len(levels)
    if n_levels > MAX_LEVELS:
        return f"it holds {n_levels:,} different values, more than the {MAX_LEVELS:,} that a category may have"
    if n_values >= 10 and n_levels == n_values:
        return "its value is different in every row, as free text and identifiers are"
    if n_values > 50 and n_levels > n_values / 2:
        return f"{n_levels:,} of its {n_values:,} values are different, as free text and identifiers are"
    if n_levels > 20 and sum(map(len, levels)) > 100 * n_levels:
        return f"its {n_levels:,} different values are more than 100 characters long on average, as free text is"
    return None


def _is_date(value: str) -> bool:
    for pattern in _PATTERNS:
        match = pattern.fullmatch(value.strip())
        if match:
            parts = match.groupdict()
            day_and_month = sorted(int(parts[name]) for name in ("first", "second") if parts.get(name))
            year = parts.get("year")
            low_enough = not day_and_month or (
                0 < day_and_month[0] <= (12 if len(day_and_month) == 2 else 31) and day_and_month[-1] <= 31
            )
            return low_enough and (year is None or len(year) == 2 or 1000 <= int(year) <= 2999)
    return False
