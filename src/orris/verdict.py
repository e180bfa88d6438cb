"""The parity gate's verdict.

Written by ``compile``, carried by the bundle's manifest, shown in the report and by the server.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Strategy = Literal["exact", "skl2onnx-float64", "skl2onnx-float32", "partly-compiled", "library-file", "scikit-learn"]
"""How the fitted pipeline is served, in the order in which the ways are tried."""

ModelFile = Literal["model.onnx", "model.skops", "model.cbm", "model.txt", "model.ubj"]
"""Names of a bundle's model file."""

FrontFile = Literal["", "front.skops"]
"""Name of the file with the steps that scikit-learn runs in front of a compiled model; empty where there are none."""


Precision = Literal["", "same", "file", "library", "refused"]
"""The model for tables whose floats are all float32, or all float64, where the contract's are not (decision 0022).

``same``: the served model, since the pipeline computes the same for both. ``file``: ``single.onnx`` or ``double.onnx``.
``library``: the fitted pipeline, which is given the table in its own precision. ``refused``: nothing answers it as the
pipeline does. Empty: the contract's floats are of that precision, or this was not found out.
"""

SMALL = "int8"
"""Stands for all integers of 8 and 16 bits, of which some functions of NumPy make float16 or float32."""

NUMBERS = ("float16", "float32", "longdouble", "Float32", SMALL)
"""Types of numbers in which scikit-learn may compute otherwise than in float64; ``Float32`` is pandas' nullable one."""

Mixture = Literal["anywhere", "beside"]
"""Where another type of numbers may stand, in a table, without another answer than that to the same numbers in float64.

``anywhere``: in every column. ``beside``: in some columns, while another column of numbers has the contract's type.
"""


def duration(microseconds: float) -> str:
    """A duration for people, with three significant digits: ``18.3 µs``, ``164 ms``, ``2.1 s``."""
    value, unit = microseconds, "µs"
    for larger in ("ms", "s"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:,.{max(0, 3 - len(str(int(value))))}f} {unit}"


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A strategy that was tried and refused, why, and what to do about it."""

    strategy: Strategy
    reason: str
    remedy: str = ""

    def sentence(self) -> str:
        """The reason, and what to do about it."""
        return f"{self.reason}; to change that, {self.remedy}" if self.remedy else self.reason


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parts of the model file that match the fitted pipeline, so that no row needs to be tried.

    Attributes:
        equality: ``bits``: every answer has the same bits; ``rounding``: the same formula with the same constants,
            whose sums or exponentials round differently from library to library.
        n_operators: Operators of the file that were matched.
        n_constants: Numbers in its constant tensors, equal in their bits.
        n_trees: Trees matched.
        n_splits: Their splits; every threshold was checked on the doubles to both sides of it.
        n_leaves: Their leaves.
        largest_rounding: ``rounding``: largest difference that rounding can make on a thousand training rows, measured
            as ``Verdict.largest_difference``.
        assumes: What the proof takes for granted, and the compared rows test.
    """

    equality: Literal["bits", "rounding"]
    n_operators: int
    n_constants: int
    n_trees: int = 0
    n_splits: int = 0
    n_leaves: int = 0
    largest_rounding: float = 0.0
    assumes: tuple[str, ...] = ()

    def phrase(self) -> str:
        """The matched parts as text."""
        matched = [f"{self.n_operators} operators", f"{self.n_constants:,} constants"]
        if self.n_trees:
            matched = [f"{self.n_trees:,} trees", f"{self.n_splits:,} splits", f"{self.n_leaves:,} leaves", *matched]
        reach = "the same bits for every row"
        if self.equality == "rounding":
            reach = f"the same formula for every row, rounding at most {self.largest_rounding:.1g} apart"
        return f"proved ({', '.join(matched)} matched: {reach})"


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parity gate's comparison and its result.

    Attributes:
        strategy: How the model is served.
        family: ``forest``, ``tree``, ``linear``, ``booster``, ``single`` or ``other``: which tolerance applied.
        n_rows: Rows on which the served model and the fitted pipeline were compared.
        rows_by_origin: Of those, how many from the training table, on thresholds, with missing values, …
        n_label_differences: Rows on which the labels differed; a published model has none.
        largest_difference: Largest difference of a probability (absolute) or a value (relative, see ``tolerance``).
        tolerance: The most that was allowed for a row: absolute for probabilities, relative to ``max(1, |value|)`` for
            values.
        one_row_microseconds: Median time of one row through the served model.
        one_row_microseconds_reference: The same through the fitted scikit-learn pipeline.
        rows_by_route: Raw training rows that were compared on each route (``DataFrame``, ``JSON``, ``CSV``, …).
        attempts: Strategies that were tried before this one, and why each was refused.
        proof: What was proved of the file; ``None`` where answers were only compared.
        unproved: Why nothing was proved.
    """

    strategy: Strategy
    family: Literal["forest", "tree", "linear", "booster", "single", "other"]
    n_rows: int
    rows_by_origin: dict[str, int]
    n_label_differences: int
    largest_difference: float
    tolerance: float
    one_row_microseconds: float
    one_row_microseconds_reference: float
    attempts: tuple[Attempt, ...] = ()
    proof: Proof | None = None
    unproved: str = ""
    rows_by_route: dict[str, int] = {}

    @property
    def holds(self) -> bool:
        """Whether rows were compared, and the served model answered all of them as the fitted pipeline does."""
        # Written so that a difference that is no number does not hold.
        return self.n_rows > 0 and self.n_label_differences == 0 and self.largest_difference <= self.tolerance

    @property
    def compiled(self) -> bool:
        """Whether the model is served from ONNX alone, so that the server needs no library beside ONNX Runtime."""
        return self.strategy in {"exact", "skl2onnx-float64", "skl2onnx-float32"}

    def sentence(self) -> str:
        """The verdict in one line, for people."""
        return (
            f"parity: {self.strategy}, {self.proof.phrase() if self.proof else 'compared'}, {self.n_rows:,} rows"
            f" compared, {self.n_label_differences} labels differ, largest"
            f" difference {self.largest_difference:.3g} (allowed {self.tolerance:.3g}); one row"
            f" {duration(self.one_row_microseconds)} against {duration(self.one_row_microseconds_reference)}"
            f" ({self._speed()})"
        )

    def _speed(self) -> str:
        """How the served model's time for one row compares with the fitted pipeline's."""
        faster = self.one_row_microseconds_reference / max(self.one_row_microseconds, 1e-9)
        factor, word = (faster, "faster") if faster >= 1 else (1 / max(faster, 1e-9), "slower")
        return "equally fast" if factor < 1.05 else f"{factor:,.{0 if factor >= 10 else 1}f} times {word}"

    def reasons(self) -> list[str]:
        """Why nothing was proved, and why the ways before this one were refused: a sentence each, with what to do."""
        unproved = [f"compared on rows, not proved: {self.unproved}"] if self.unproved else []
        return [*unproved, *(f"not served by {attempt.strategy}: {attempt.sentence()}" for attempt in self.attempts)]
