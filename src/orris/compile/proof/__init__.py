"""A proof that a compiled model answers as the fitted pipeline does, for every row that float64 can hold.

    file ──> document ──> operators ─┐
                                     ├──> terms ──> matching ──> Proof
    fitted estimator ──> statement ──┘    (normal form)
                         statements/: steps, ensembles, formulas

``forest`` brings trees into a canonical form, ``bounds`` says what rounding leaves open. Nothing here shares code with
the converters. ``docs/proof.md`` says what a proof means and what it assumes.
"""

from orris.compile.proof.matching import Claim, Proved, prove

__all__ = ["Claim", "Proved", "prove"]
