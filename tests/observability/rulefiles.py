"""The rule files of ``observability/alerts`` and their cases for promtool, read for the tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "observability" / "alerts"
FILES = sorted(ALERTS.glob("*.yaml"))
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)(\{[^{}]*\})")
_WORD = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*[\w:(])")
_LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
_KEYWORDS = frozenset({"and", "or", "unless", "offset", "bool", "group_left", "group_right", "inf", "nan"})

Rule = dict[str, Any]


def rules() -> list[Rule]:
    """All rules, recordings and alerts, in the order in which they are evaluated."""
    return [
        rule for file in FILES for group in yaml.safe_load(file.read_text("utf-8"))["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, Rule]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def selectors(query: str) -> list[str]:
    """The vector selectors of a query, each with its matchers: ``up{job="orris"}``."""
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found.group(0))
        return f'"{len(hidden) - 1}"'

    plain = _STRING.sub(hide, query)
    found = ["".join(each.groups()) for each in _SELECTOR.finditer(plain)]
    return [re.sub(r'"(\d+)"', lambda number: hidden[int(number.group(1))], each) for each in found]


def bare_names(query: str) -> set[str]:
    """Metrics that a query names without matchers."""
    plain = _LISTS.sub("", _SELECTOR.sub("1", _STRING.sub('""', query)))
    plain = re.sub(r"\[[^\]]*\]|\boffset\s+\S+", "", plain)
    return {name for name in _WORD.findall(plain) if name.lower() not in _KEYWORDS}
