"""The recording of the tutorial: its commands still print what the page shows."""

from __future__ import annotations

from pathlib import Path

from tools.recording import PAGE, masked, record

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"


def test_the_tutorial_prints_the_lines_of_its_recording() -> None:
    """Run in a fresh folder, the tutorial's commands print the page ``docs/recording.md``, numbers apart."""
    again = record(TUTORIAL.read_text("utf-8"))
    assert masked(again) == masked(PAGE.read_text("utf-8")), "run `python -m tools.recording`"


def test_words_are_compared_and_numbers_are_not() -> None:
    """Two recordings are equal if only times, numbers and digests differ, and unequal if a word does."""
    page = "one row 42.5 µs against 49.1 ms (1,155 times faster)\ncreated 2026-11-28T06:10:53Z digest dfee9120aca8"
    assert masked(page) == masked(page.replace("42.5 µs", "1.05 ms").replace("dfee9120aca8", "00ab00ab00ab"))
    assert masked(page) != masked(page.replace("against", "beside"))
