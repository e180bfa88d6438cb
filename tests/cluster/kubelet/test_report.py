"""Tests of the report of the autoscaling experiment."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.live.report import NUMBERS, PAGE, draw, section


def test_the_page_has_the_table_of_the_numbers() -> None:
    """The page shows what the file of numbers says."""
    assert section(json.loads(NUMBERS.read_text("utf-8"))) in PAGE.read_text("utf-8")


def test_the_figure_can_be_drawn(tmp_path: Path) -> None:
    """The figure is drawn from the numbers alone."""
    draw(json.loads(NUMBERS.read_text("utf-8")), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
