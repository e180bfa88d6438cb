"""The proof: the terms that the file computes are the terms that the fitted estimator states, output by output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from orris.compile.proof.bounds import Errors, require_continuous
from orris.compile.proof.document import read
from orris.compile.proof.operators import Interpreter, Rows
from orris.compile.proof.statement import Answer, domains, state
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError
from orris.runtime import Answers
from orris.schema import Schema
from orris.schema.arrays import FloatArray
from orris.verdict import Proof

_RUNTIME = (
    "ONNX Runtime's operators compute what the ONNX specification says, with one thread and no graph optimisation"
)
_ORDER = "ONNX Runtime adds up trees, and slices along a leading axis, one after the other in the order of the file"
_ARITHMETIC = (
    "scikit-learn computes in IEEE 754 float64 without fused multiply-add, and adds up trees one after the other"
)
_FUNCTIONS = (
    "exponential, hyperbolic tangent and logistic function lie within 8 units of the last place in both libraries"
)
_POWERS = "XGBoost's exponential is that of the C library glibc, 2.27 or later, computed without fused multiply-add"

_WIDEST = 5_000
"""Sums of more terms get no bound of their own: it would take longer than the comparison."""

_CELLS = 4_000_000
"""Numbers that are held at a time while bounds are worked out."""


@dataclass(frozen=True)
class Proved:
    """A proof, and what rounding it leaves open.

    Attributes:
        facts: What was matched; ``largest_rounding`` is filled in by ``with_rounding``.
        answer: The terms of the outputs.
    """

    facts: Proof
    answer: Answer

    def rounding(self, rows: FloatArray, answers: Answers) -> FloatArray | None:
        """How far apart rounding can bring the two models' answers: float64, of the shape of probabilities or values.

        Args:
            rows: Encoded rows, float64 ``(n_rows, n_columns)``.
            answers: A model's answers to them.

        Returns:
            Zeros where every bit is determined; ``None`` where no bound is known, so that the usual tolerances apply.
        """
        given = answers.probabilities if answers.values is None else answers.values
        terms = self.answer.probabilities if self.answer.value is None else (self.answer.value,)
        if given is None or terms is None:
            return None
        if self.facts.equality == "bits":
            return np.zeros_like(given)
        widest = _widest(terms)
        if widest > _WIDEST:
            return None
        columns = given.reshape(len(rows), -1)
        step = max(1, _CELLS // max(widest, rows.shape[1]))
        try:
            parts = [
                _differences(terms, rows[start : start + step], columns[start : start + step])
                for start in range(0, len(rows), step)
            ]
        except NotProvedError:
            return None
        return np.concatenate([np.empty((0, columns.shape[1])), *parts]).reshape(given.shape)


def _differences(terms: Sequence[Term], rows: FloatArray, answers: FloatArray) -> FloatArray:
    errors = Errors(rows, {term.number: answers[:, i] for i, term in enumerate(terms)})
    return np.stack([errors.difference(term) for term in terms], axis=1)


def _holds_power(outputs: Iterable[Sequence[Term]]) -> bool:
    """Whether XGBoost's exponential is computed: its table of powers is read."""
    seen: set[int] = set()
    stack = [term for terms in outputs for term in terms]
    while stack:
        term = stack.pop()
        if term.op == "Pick":
            return True
        if term.number not in seen:
            seen.add(term.number)
            stack += term.args
    return False


def _widest(terms: Sequence[Term]) -> int:
    """Largest number of arguments below the terms."""
    found, seen, stack = 1, set(), list(terms)
    while stack:
        term = stack.pop()
        if term.number not in seen:
            seen.add(term.number)
            if not term.exact:
                found = max(found, len(term.args))
            stack += [] if term.exact else term.args
    return found


class Claim:
    """The answers of a fitted pipeline, with which files are compared.

    Args:
        pipeline: The fitted classifier, regressor or Pipeline.
        schema: The contract: what rows there can be.

    Raises:
        NotProvedError: A step of the pipeline has no statement; says which.
    """

    def __init__(self, pipeline: Any, schema: Schema) -> None:
        self._schema = schema
        self._algebra = Algebra(domains(schema))
        with _understood("the estimator"):
            self._answer = state(self._algebra, pipeline, schema)
        _require_labels(pipeline, schema)
        self._wanted = _wanted(self._answer, schema)
        for name, terms in self._wanted.items():
            for term in terms:
                _require_continuous(term, name)

    def prove(self, content: bytes) -> Proved:
        """Match a model file with the pipeline.

        Args:
            content: The file's bytes, as they are written.

        Raises:
            NotProvedError: The file computes something else, or a part of it is not understood; says what. It may be
                right even so: its answers are then compared.
        """
        with _understood("the file"):
            document = read(content)
            interpreter = Interpreter(self._algebra, document)
            if document.n_columns != self._schema.n_columns:
                raise NotProvedError(f"the file takes {document.n_columns} columns, not {self._schema.n_columns}")
            found = interpreter.outputs()
        if set(found) != set(self._wanted):
            raise NotProvedError(f"the file answers with {sorted(found)}, the estimator with {sorted(self._wanted)}")
        for name, terms in self._wanted.items():
            shape = (1, len(terms)) if name == "probabilities" else (1,)
            _require_same(name, found[name], terms, shape)
        exact = all(term.exact for terms in self._wanted.values() for term in terms)
        assumes = [_RUNTIME, *([_ORDER] if interpreter.n_trees else []), _ARITHMETIC, *([] if exact else [_FUNCTIONS])]
        assumes += [_POWERS] if _holds_power(self._wanted.values()) else []
        facts = Proof(
            equality="bits" if exact else "rounding",
            n_operators=len(document.nodes),
            n_constants=sum(constant.size for constant in document.constants.values()),
            n_trees=interpreter.n_trees,
            n_splits=interpreter.n_splits,
            n_leaves=interpreter.n_leaves,
            assumes=tuple(assumes),
        )
        return Proved(facts, self._answer)


def prove(content: bytes, pipeline: Any, schema: Schema) -> Proved:
    """``Claim(pipeline, schema).prove(content)``: the proof of one file; raises ``NotProvedError``."""
    return Claim(pipeline, schema).prove(content)


@contextmanager
def _understood(what: str) -> Iterator[None]:
    """Whatever goes wrong while reading is a thing that is not understood, and proves nothing."""
    try:
        yield
    except NotProvedError:
        raise
    except Exception as error:
        raise NotProvedError(f"{what} is not understood: {type(error).__name__}: {error}") from error


def _require_continuous(term: Term, name: str) -> None:
    """A label may be the last comparison of rounded scores; within a model nothing rounded is compared."""
    if name != "label" or term.exact:
        require_continuous(term)
        return
    compared = term.args[0] if term.op == "Cast" else term
    if compared.op not in {"Greater", "GreaterOrEqual", "ArgMax"}:
        raise NotProvedError("the label is not a comparison of scores")
    for score in compared.args:
        require_continuous(score)


def _require_labels(pipeline: Any, schema: Schema) -> None:
    if schema.task != "classification":
        return
    classes = getattr(pipeline, "classes_", ())
    listed = classes.tolist() if isinstance(classes, np.ndarray) else list(classes)
    if listed != list(schema.labels):
        raise NotProvedError("the contract's labels are not the classes of the estimator, in their order")


def _wanted(stated: Answer, schema: Schema) -> dict[str, tuple[Term, ...]]:
    """The terms of the outputs, by name."""
    if schema.task == "regression":
        if stated.value is None:
            raise NotProvedError("the estimator states no value")
        return {"value": (stated.value,)}
    if stated.label is None:
        raise NotProvedError("the estimator states no label")
    if stated.probabilities is None:
        return {"label": (stated.label,)}
    if len(stated.probabilities) != len(schema.labels):
        raise NotProvedError("the estimator states another number of probabilities than there are labels")
    return {"label": (stated.label,), "probabilities": stated.probabilities}


def _require_same(name: str, found: Rows, wanted: Sequence[Term], shape: tuple[int, ...]) -> None:
    if found.terms.shape != shape:
        raise NotProvedError(f"the output '{name}' of the file has another shape")
    for k, (mine, theirs) in enumerate(zip(found.terms.reshape(-1), wanted, strict=True)):
        if mine is not theirs:
            where = f"'{name}'" if len(wanted) == 1 else f"'{name}' of class {k}"
            raise NotProvedError(f"{where}: {_difference(mine, theirs)}")


def _difference(mine: Term, theirs: Term) -> str:
    """The first difference of two formulas, in words."""
    if mine.op != theirs.op or len(mine.args) != len(theirs.args):
        return f"the file computes {_written(mine)}, the estimator {_written(theirs)}"
    for i, (left, right) in enumerate(zip(mine.args, theirs.args, strict=True)):
        if left is not right:
            where = f"tree {i}: " if left.op == "Leaf" and right.op == "Leaf" else ""
            return where + _difference(left, right)
    if mine.op == "Leaf":
        if mine.payload.tree != theirs.payload.tree:
            return "the splits of a tree are not the estimator's"
        n_leaves = int((mine.payload.values != theirs.payload.values).sum())
        return f"{n_leaves} of {len(mine.payload.values)} leaves of a tree have other values than the estimator's"
    if mine.op == "Dot":
        (weights, bias), (wanted, offset) = mine.payload, theirs.payload
        other = int((weights.view(np.uint64) != wanted.view(np.uint64)).sum())
        return f"{other} of {len(weights)} weights differ, and the intercepts are {bias!r} and {offset!r}"
    return f"the file computes {_written(mine)}, the estimator {_written(theirs)}"


def _written(term: Term, depth: int = 2) -> str:
    """A formula, shortened."""
    if term.op == "Input":
        return f"column {term.payload}"
    if term.op == "Constant":
        return repr(term.payload.item())
    if not depth or term.op == "Leaf":
        return "the answer of a tree" if term.op == "Leaf" else f"{term.op}(…)"
    inner = [_written(arg, depth - 1) for arg in term.args[:3]]
    return f"{term.op}({', '.join(inner)}{', …' if len(term.args) > 3 else ''})"
