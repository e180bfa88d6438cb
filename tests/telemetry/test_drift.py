"""Tests of sketches of drift: their counts, their window, and the results computed from them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.runtime import Answers
from orris.schema import UNSEEN, Column, Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.profile import CELLS, Profile
from orris.telemetry.drift import FLOOR, N_PANES, ROWS_PER_BIN, Drift, Report, Sketch, by_chance, stability
from orris.telemetry.metrics import Metrics
from orris.telemetry.snapshot import Pane, Snapshot, decode, encode, fold, merge
from orris.training.profiling import learn_profile
from tests.telemetry.test_metrics import Others, samples

WINDOW = 120.0
SCHEMA = Schema(
    columns=(
        Column("size", Kind.NUMBER),
        Column("town", Kind.CATEGORY, levels=("Oslo", "Rome")),
        Column("member", Kind.BOOLEAN),
    ),
    target="y",
    task="classification",
    labels=("no", "yes"),
)


class Rule:
    """A model: "yes" where the size is above 0."""

    has_probabilities = False

    def run(self, rows: FloatArray) -> Answers:
        """Return labels."""
        return Answers(labels=(rows[:, 0] > 0).astype(np.int64))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return seconds."""
        return self.now


def draw(n_rows: int, seed: int, shift: float = 0.0) -> FloatArray:
    """Return random rows of the schema."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(shift, 1, n_rows), rng.integers(0, 2, n_rows), rng.integers(0, 2, n_rows)])


PROFILE: Profile = learn_profile(SCHEMA, draw(5_000, 0), Rule())


def sketch(clock: Clock | None = None) -> Sketch:
    """Return an empty sketch."""
    return Sketch(SCHEMA, PROFILE, WINDOW, clock or Clock())


def fill(target: Sketch, rows: FloatArray) -> None:
    """Answer rows, one batch."""
    target.add(rows, Rule().run(rows).found)


def report_of(target: Sketch) -> Report:
    """Return the report of a sketch."""
    target.fold()
    return target.report(target.panes("m", "1"))


def test_the_index_is_the_textbook_one() -> None:
    """The index of three shares equals the value computed by hand."""
    expected = (0.5 - 0.6) * math.log(0.5 / 0.6) + (0.3 - 0.3) * math.log(1) + (0.2 - 0.1) * math.log(0.2 / 0.1)
    assert stability(np.array([0.6, 0.3, 0.1]), np.array([0.5, 0.3, 0.2])) == pytest.approx(expected)


def test_an_empty_slot_counts_as_the_floor() -> None:
    """An empty bin on one side counts as the floor, and one empty on both sides adds nothing."""
    expected = (1 - 0.5) * math.log(1 / 0.5) + (FLOOR - 0.5) * math.log(FLOOR / 0.5)
    assert stability(np.array([0.5, 0.5, 0]), np.array([1.0, 0, 0])) == pytest.approx(expected)
    assert stability(np.array([1.0, 0, 0]), np.array([0.5, 0.5, 0])) == pytest.approx(expected)


def test_chance_alone_stays_below_the_stated_level() -> None:
    """In 95 of 100 windows of traffic like training's the index is below the formula's level for chance."""
    rng = np.random.default_rng(1)
    shares = np.full(10, 0.1)
    found = [
        stability(rng.multinomial(5_000, shares) / 5_000, rng.multinomial(200, shares) / 200) for _ in range(2_000)
    ]
    assert np.mean(np.array(found) < by_chance(10, 5_000, 200)) == pytest.approx(0.95, abs=0.015)
    assert by_chance(1, 100, 100) == 0


def test_traffic_like_training_is_stable() -> None:
    """Traffic like training's is stable in every column and in the predictions."""
    target = sketch()
    fill(target, draw(2_000, 1))
    report = report_of(target)
    assert report.n_rows == 2_000
    assert [reading.verdict for reading in (*report.columns, report.predictions)] == ["stable"] * 4


def test_only_a_shifted_column_is_reported() -> None:
    """A shifted column is reported, with the predictions that follow from it, and no other column."""
    target = sketch()
    fill(target, draw(2_000, 1, shift=1.0))
    report = report_of(target)
    assert [reading.verdict for reading in report.columns] == ["shifted", "stable", "stable"]
    assert report.predictions.verdict == "shifted"


def test_missing_and_unseen_are_shares_of_all_rows_and_raise_the_index() -> None:
    """Missing and unseen values are shares of all rows and raise the index of their own column."""
    rows = draw(1_000, 2)
    rows[:100, 0], rows[:300, 1] = np.nan, UNSEEN
    target = sketch()
    fill(target, rows)
    size, town, member = report_of(target).columns
    assert (size.current[-2], town.current[-1]) == (0.1, 0.3)
    assert [reading.verdict for reading in (size, town, member)] == ["shifted", "shifted", "stable"]


def test_too_few_rows_have_no_index() -> None:
    """Below the needed number of rows, which the report gives, there is no index."""
    target = sketch()
    needed = report_of(target).columns[0].needed
    assert needed == ROWS_PER_BIN * 10
    rows = draw(needed, 3)
    fill(target, rows[:-1])
    before = report_of(target).columns[0]
    fill(target, rows[-1:])
    after = report_of(target).columns[0]
    assert (before.psi, before.verdict) == (None, "unknown")
    assert after.psi is not None


def test_rows_leave_the_window() -> None:
    """Rows count for eleven to twelve panes, and the report has the start of the window."""
    clock = Clock()
    target = sketch(clock)
    fill(target, draw(300, 4))
    assert report_of(target).n_rows == 300
    clock.now += WINDOW * 11 / N_PANES
    fill(target, draw(50, 5))
    assert report_of(target).n_rows == 350
    assert WINDOW * 11 / N_PANES <= report_of(target).since_seconds <= WINDOW
    clock.now += WINDOW / N_PANES
    assert report_of(target).n_rows == 50
    assert len(target.panes("m", "1")) == 1


def test_rows_are_counted_when_there_is_no_room_for_more() -> None:
    """Rows are counted when the buffer is full, or at once if a batch is longer than the buffer."""
    target = sketch()
    rows = draw(CELLS // 3, 6)
    fill(target, rows)
    assert not target.panes("m", "1")
    fill(target, rows[:20])
    assert target.report(target.panes("m", "1")).n_rows == len(rows)
    fill(target, np.concatenate([rows, rows]))
    target.fold()
    assert target.report(target.panes("m", "1")).n_rows == 3 * len(rows) + 20


def test_a_batch_may_change_after_it_was_taken() -> None:
    """The values that were answered are counted, even if the array changes afterwards."""
    target = sketch()
    rows, answers = draw(300, 13), np.zeros(300, dtype=np.int64)
    target.add(rows, answers)
    rows[:], answers[:] = np.nan, 1
    report = report_of(target)
    assert report.columns[0].current[-2] == 0
    assert report.predictions.current[0] == 1


ROWS = st.lists(
    st.tuples(
        st.sampled_from([math.nan, -9.0, -0.1, 0.0, 0.3, 9.0]), st.sampled_from([UNSEEN, 0, 1]), st.sampled_from([0, 1])
    )
)


@given(st.lists(ROWS, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_sketches_merge_to_the_sketch_of_all_rows_in_any_order(
    parts: Sequence[list[tuple[float, float, float]]], order: random.Random
) -> None:
    """Sketches of workers and panes, sent and read back, merge to the sketch of all rows."""
    clock = Clock()
    workers = [sketch(clock) for _ in range(3)]
    whole = sketch(clock)
    panes: list[Pane] = []
    for part in parts:
        rows = np.array(part, dtype=np.float64).reshape(-1, 3)
        fill(whole, rows)
        worker = order.choice(workers)
        order.choice((worker.add, worker.count))(rows, Rule().run(rows).found)
        clock.now += order.choice((0.0, WINDOW / N_PANES))
        for each in (*workers, whole):
            each.fold()
    for worker in workers:
        panes += decode(encode(Snapshot(panes=worker.panes("m", "1")))).panes
    order.shuffle(panes)
    merged, alone = workers[0].report(panes), report_of(whole)
    assert merged.n_rows == alone.n_rows == sum(map(len, parts))
    for mine, theirs in zip((*merged.columns, merged.predictions), (*alone.columns, alone.predictions), strict=True):
        assert (mine.current == theirs.current).all()
        assert mine.psi == theirs.psi


def test_panes_of_another_layout_are_ignored() -> None:
    """Panes of a version that was published anew under its number are not merged with the old one's."""
    target = sketch()
    fill(target, draw(10, 7))
    target.fold()
    (name, version, _, number, counts), *_ = target.panes("m", "1")
    assert target.report([(name, version, "other", number, counts[:4])]).n_rows == 0


def test_a_profile_of_other_columns_makes_no_sketch() -> None:
    """A version without a fitting profile, or a window of no length, has no sketch."""
    assert Drift(WINDOW).sketch("m", "1", SCHEMA, None) is None
    assert Drift(0).sketch("m", "1", SCHEMA, PROFILE) is None
    with pytest.raises(ValueError, match="columns"):
        Drift(WINDOW).sketch(
            "m",
            "1",
            Schema(columns=SCHEMA.columns[:1], target="y", task="classification", labels=("no", "yes")),
            PROFILE,
        )


def serving(clock: Clock) -> tuple[Metrics, Sketch]:
    """Return the metrics of a worker that serves one version."""
    metrics = Metrics(Drift(WINDOW, clock))
    metrics.model("m", "1", ("no", "yes"), {"format": "onnx"}, 1_763_683_200.0)
    made = metrics.drift.sketch("m", "1", SCHEMA, PROFILE)
    assert made is not None
    return metrics, made


KEY = "('model', 'm'), ('version', '1')"


def test_the_gauges_are_those_of_all_workers() -> None:
    """Gauges are computed from the sum of all living workers' rows."""
    clock = Clock()
    (mine, own), (theirs, other) = serving(clock), serving(clock)
    fill(own, draw(100, 8))
    fill(other, draw(200, 9))
    theirs.drift.fold()
    snapshot = encode(theirs.snapshot())
    mine.share(Others([snapshot]))
    found = samples(mine)
    assert found[f"orris_drift_rows[{KEY}]"] == 300
    assert found[f"orris_drift_psi[('column', 'size'), {KEY}]"] < 0.1
    assert found[f"orris_drift_unseen_ratio[('column', 'town'), {KEY}]"] == 0
    assert found[f"orris_drift_missing_ratio[('column', 'member'), {KEY}]"] == 0
    assert f"orris_drift_unseen_ratio[('column', 'size'), {KEY}]" not in found
    assert found[f"orris_drift_prediction_psi[{KEY}]"] < 0.1
    mine.share(Others([], retired=fold(b"", snapshot)))
    assert samples(mine)[f"orris_drift_rows[{KEY}]"] == 100


def test_too_few_rows_leave_a_gauge_out_but_say_how_many() -> None:
    """With too few rows the gauge of the index is absent and the number of rows is given."""
    metrics, own = serving(Clock())
    fill(own, draw(10, 10))
    found = samples(metrics)
    assert found[f"orris_drift_rows[{KEY}]"] == 10
    assert not [
        name for name in found if name.startswith(("orris_drift_psi", "orris_drift_prediction", "orris_drift_missing"))
    ]


def test_a_version_that_is_forgotten_takes_its_drift_with_it() -> None:
    """An unloaded version loses its drift and its creation time, and starts anew when loaded again."""
    metrics, own = serving(Clock())
    fill(own, draw(300, 11))
    assert samples(metrics)[f"orris_model_created_timestamp_seconds[{KEY}]"] == 1_763_683_200
    assert metrics.drift.sketch("m", "1", SCHEMA, PROFILE) is own
    metrics.forget("m", "1")
    found = samples(metrics)
    assert not [name for name in found if name.startswith(("orris_drift", "orris_model_created"))]
    assert metrics.drift.sketch("m", "1", SCHEMA, PROFILE) is not own


def test_a_board_that_is_too_small_loses_drift_first() -> None:
    """If the board is too small for drift, requests are still counted for all workers."""
    metrics, own = serving(Clock())
    fill(own, draw(300, 12))
    metrics.drift.fold()
    metrics.finished("POST", "/predict", 200, 0.001)

    class Small(Others):
        def publish(self, snapshot: bytes) -> bool:
            self.own = snapshot
            return not decode(snapshot).panes

    board = Small()
    metrics.share(board)
    metrics.publish()
    assert decode(board.own).panes == []
    assert decode(board.own).counters["http_requests"]
    assert merge([decode(board.own), Snapshot(panes=own.panes("m", "1"))]).panes
