"""Terms: what one number of a row's answer is, written as a formula over the row's columns, in a normal form.

The reader of the file (``operators``) and the statement of the estimator (``statements``) build their terms in the same
``Algebra``. Equal formulas are the same object there, so a proof ends in ``is``. Every rewriting rule keeps the bits of
the result under IEEE 754 arithmetic. What rounds differently from library to library (``ROUNDED``) is rewritten as
holds for real numbers only where ``bounds`` accounts for it, and is marked ``exact=False``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from orris.errors import NotProvedError
from orris.schema.arrays import FloatArray

Dtype = Literal["f8", "f4", "i8", "b1"]

ROUNDED = frozenset({"Dot", "Exp", "Expit", "Softmax", "Tanh", "Log"})
"""Functions whose last bits depend on the library that computes them; ``bounds`` says by how much."""

_NUMPY: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Round": np.rint,
    "Pow": np.power,
    "Mod": np.fmod,
    "Max": np.maximum,
    "Min": np.minimum,
    "Clip": np.clip,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "IsNaN": np.isnan,
    "Where": np.where,
}
"""Operations that IEEE 754 or logic determine to the last bit, as NumPy computes them."""

_BOOLEAN = frozenset({"Equal", "Greater", "GreaterOrEqual", "And", "Or", "Not", "IsNaN"})
_COMMUTATIVE = frozenset({"Add", "Mul", "Equal", "And", "Or"})
_NP: dict[str, Any] = {"f8": np.float64, "f4": np.float32, "i8": np.int64, "b1": np.bool_}


class Term:
    """One node of a formula; made by an ``Algebra`` only, where equal formulas are the same object.

    Attributes:
        op: Name of the operation: an ONNX operator's where there is one; ``Input``, ``Constant``, ``Map``, ``Leaf``,
            ``Fold`` (a sum from zero, in order), ``Dot`` (a weighted sum in any order), ``Whole``, ``Residue`` (of a
            whole number by a power of two), ``Place`` (the same, 0 for NaN), ``Pick`` (of a table) otherwise.
        dtype: Element type.
        args: What it is applied to.
        payload: What else determines it, by ``op``.
        number: Position among the algebra's terms.
        exact: Whether every bit is determined; false from the first function of ``ROUNDED`` upwards.
    """

    __slots__ = ("args", "dtype", "exact", "number", "op", "payload")

    def __init__(self, op: str, dtype: Dtype, args: tuple[Term, ...], payload: Any, number: int) -> None:
        self.op, self.dtype, self.args, self.payload, self.number = op, dtype, args, payload, number
        self.exact: bool = op not in ROUNDED and all(arg.exact for arg in args)

    def __repr__(self) -> str:
        return f"<{self.op} {self.number}>"


@dataclass(frozen=True)
class Table:
    """A function of one term: a value for each of ``keys``, for NaN, and for everything else."""

    keys: FloatArray
    values: npt.NDArray[Any]
    nan: Any
    default: Any


@dataclass(frozen=True)
class Leaves:
    """The answer of one tree: ``values[i]`` at its leaf ``i``; ``tree`` identifies its splits (see ``forest``)."""

    tree: bytes
    values: npt.NDArray[Any]


class Algebra:
    """Makes terms.

    Args:
        codes: For each input column that holds category codes: the codes that a row can hold besides NaN. Every other
            column can hold any finite float64, and NaN.
    """

    def __init__(self, codes: Mapping[int, FloatArray]) -> None:
        self.codes = dict(codes)
        self._made: dict[Any, Term] = {}
        self._inverse: dict[int, dict[Any, FloatArray]] = {}
        self.sets: dict[bytes, int] = {}
        """Number of each set of members that a split tests."""

    # --- atoms ---

    def _intern(self, op: str, dtype: Dtype, args: tuple[Term, ...], data: Any, payload: Any = None) -> Term:
        key = (op, dtype, tuple([arg.number for arg in args]), data)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = Term(op, dtype, args, payload, len(self._made))
        return found

    def input(self, column: int) -> Term:
        """The column of the encoded row."""
        return self._intern("Input", "f8", (), column, column)

    def constant(self, value: Any, dtype: Dtype = "f8") -> Term:
        """A number; all NaN are one, and its bits decide otherwise."""
        number = _NP[dtype](value)
        if number != number:  # noqa: PLR0124 (NaN is not itself)
            number = _NP[dtype](np.nan)
        return self._intern("Constant", dtype, (), number.tobytes(), number)

    def map(self, base: Term, keys: Any, values: Any, nan: Any, default: Any, dtype: Dtype = "f8") -> Term:
        """The function of ``base`` that is ``values[i]`` at ``keys[i]``, ``nan`` at NaN and ``default`` elsewhere."""
        kind = _NP[dtype]
        keys = np.asarray(keys, dtype=np.float64) + 0.0
        values = np.asarray(values, dtype=kind)
        nan, default = kind(nan), kind(default)
        differs = ~_same(values, default)
        keys, values = keys[differs], values[differs]
        domain = self.domain(base)
        if domain is not None:
            inside = domain[np.minimum(np.searchsorted(domain, keys), len(domain) - 1)] == keys
            keys, values, default = _with_commonest(domain, keys[inside], values[inside], default)
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
        if len(np.unique(keys)) != len(keys):
            raise NotProvedError("a table has a key twice")
        if not len(keys) and _same(np.asarray(nan), default):
            return self.constant(default, dtype)
        if domain is not None and dtype == "f8" and np.isnan(nan) and self._is_identity(domain, keys, values, default):
            return base
        data = (keys.tobytes(), _bits(values), _bits(nan), _bits(default))
        return self._intern("Map", dtype, (base,), data, Table(keys, values, nan, default))

    def is_whole(self, term: Term) -> bool:
        """Whether a term is known to be a whole number or NaN."""
        if term.op == "Map":
            values = np.append(term.payload.values, [term.payload.nan, term.payload.default]).astype(np.float64)
            return bool((np.isnan(values) | (values == np.floor(values))).all())
        return term.op == "Whole" or self.domain(term) is not None

    def domain(self, base: Term) -> FloatArray | None:
        """The sorted numbers that a term can hold besides NaN, if it is a column of codes."""
        return self.codes.get(base.payload) if base.op == "Input" else None

    @staticmethod
    def _is_identity(domain: FloatArray, keys: FloatArray, values: Any, default: Any) -> bool:
        full = np.full(len(domain), default)
        full[np.searchsorted(domain, keys)] = values
        return bool(np.array_equal(full, domain))

    def leaves(self, tree: bytes, values: npt.NDArray[Any], dtype: Dtype = "f8") -> Term:
        """The answer of a tree; one whose leaves are all equal is that number. The sign of a zero does not count."""
        values = np.asarray(values, dtype=_NP[dtype])
        if dtype != "b1":
            values = values + _NP[dtype](0)
        if len(values) and _same(values, values[0]).all():
            return self.constant(values[0], dtype)
        return self._intern("Leaf", dtype, (), (tree, _bits(values)), Leaves(tree, values))

    def fold(self, parts: Sequence[Term], dtype: Dtype = "f8") -> Term:
        """``0 + parts[0] + parts[1] + …`` in this order. Adding a zero changes nothing, since no such sum is -0."""
        kept = tuple(part for part in parts if not (part.op == "Constant" and part.payload == 0))
        if not kept:
            return self.constant(0.0, dtype)
        if len(kept) == 1 and kept[0].op in {"Leaf", "Constant"}:
            return kept[0]
        return self._intern("Fold", dtype, kept, None)

    def dot(self, parts: Sequence[Term], weights: npt.ArrayLike, bias: float) -> Term:
        """``sum(parts * weights) + bias``, in no particular order."""
        vector = np.ascontiguousarray(weights, dtype=np.float64) + 0.0
        offset = np.float64(bias) + 0.0
        return self._intern("Dot", "f8", tuple(parts), (vector.tobytes(), offset.tobytes()), (vector, float(offset)))

    def several(self, op: Literal["Softmax", "ArgMax", "Largest"], parts: Sequence[Term], position: int = 0) -> Term:
        """Component ``position`` of the soft-max of ``parts``, the position of the first largest, or that number."""
        if op == "Largest":
            return self._intern("Largest", parts[0].dtype, tuple(parts), None)
        if op == "ArgMax":
            return self._intern("ArgMax", "i8", tuple(parts), None)
        return self._intern("Softmax", "f8", tuple(parts), position, position)

    # --- operations ---

    def apply(self, op: str, *args: Term, to: Dtype = "f8") -> Term:
        """An operation on numbers, in normal form.

        ``to`` is the element type that a ``Cast`` casts to.

        Raises:
            NotProvedError: The operation is not known.
        """
        op, args = self._spelled(op, args)
        if op == "Cast":
            return self._cast(args[0], to)
        if op in {"Exp", "Expit", "Tanh", "Log"}:
            return self._intern(op, "f8", args, None)
        if op not in _NUMPY:
            raise NotProvedError(f"the operator {op} is not one that the proof knows")
        if op in _COMMUTATIVE and len(args) == 2:
            args = tuple(sorted(args, key=lambda arg: (arg.op == "Constant", arg.number)))
        dtype: Dtype = "b1" if op in _BOOLEAN else args[-1].dtype
        return self._folded(op, args, dtype) or self._simplified(op, args) or self._intern(op, dtype, args, None)

    def _spelled(self, op: str, args: tuple[Term, ...]) -> tuple[str, tuple[Term, ...]]:  # noqa: PLR0911 (a table)
        """Operators that are others spelled differently."""
        if op in {"Less", "LessOrEqual"}:
            op, args = ("Greater" if op == "Less" else "GreaterOrEqual"), (args[1], args[0])
        if op in {"Greater", "GreaterOrEqual"} and args[0].op == "Constant" != args[1].op:
            # c > x is -x > -c: negation is exact.
            args = self.apply("Neg", args[1]), self.apply("Neg", args[0])
        if op in {"Greater", "GreaterOrEqual", "Equal"}:
            args = tuple(self.constant(0, arg.dtype) if _is_zero(arg) else arg for arg in args)
        if op == "Neg":
            return "Mul", (args[0], self.constant(-1.0, args[0].dtype))
        if op == "Relu":
            return "Max", (args[0], self.constant(0.0, args[0].dtype))
        if op == "Sigmoid":
            return "Expit", args
        if op == "Reciprocal":
            return "Div", (self.constant(1.0, args[0].dtype), args[0])
        if op == "Div" and args[1].op == "Constant" and _is_power_of_two(args[1].payload):
            return "Mul", (args[0], self.constant(1 / args[1].payload, args[1].dtype))
        if op == "Add" and args[0] is args[1]:
            return "Mul", (args[0], self.constant(2.0, args[0].dtype))
        return op, args

    def _folded(self, op: str, args: tuple[Term, ...], dtype: Dtype) -> Term | None:
        """Carried out here, where every argument is a constant or a function of the same column of codes or tree."""
        varying = [arg for arg in args if arg.op != "Constant"]
        function = _NUMPY[op]
        with np.errstate(all="ignore"):
            if not varying:
                return self.constant(function(*(arg.payload for arg in args)), dtype)
            if op in {"Equal", "IsNaN"}:
                found = self._tested(op, args)
                if found is not None:
                    return found
            if all(arg.op == "Leaf" and arg.payload.tree == varying[0].payload.tree for arg in varying):
                values = function(*(arg.payload.values if arg.op == "Leaf" else arg.payload for arg in args))
                return self.leaves(varying[0].payload.tree, values, dtype)
            base = self._base(varying)
            if base is None:
                return None
            keys = self._keys(base, varying)
            parts = [self._at(arg, base, keys) for arg in args]
            values, nan, default = (function(*(part[i] for part in parts)) for i in range(3))
            return self.map(base, keys, np.broadcast_to(values, keys.shape), nan, default, dtype)

    def _base(self, terms: Sequence[Term]) -> Term | None:
        bases = {self._of(term) for term in terms}
        return bases.pop() if len(bases) == 1 else None

    def _of(self, term: Term) -> Term | None:
        if term.op == "Map":
            return term.args[0]
        return term if self.domain(term) is not None else None

    def _keys(self, base: Term, terms: Sequence[Term]) -> FloatArray:
        domain = self.domain(base)
        if domain is not None and any(term is base for term in terms):
            return domain
        return np.unique(np.concatenate([term.payload.keys for term in terms]))

    def _at(self, term: Term, base: Term, keys: FloatArray) -> tuple[Any, Any, Any]:
        """Values at ``keys``, at NaN, and elsewhere."""
        if term.op == "Constant":
            return term.payload, term.payload, term.payload
        if term is base:
            return keys, np.nan, np.nan
        held: Table = term.payload
        values = np.full(len(keys), held.default, dtype=held.values.dtype)
        values[np.searchsorted(keys, held.keys)] = held.values
        return values, held.nan, held.default

    def _tested(self, op: str, args: tuple[Term, ...]) -> Term | None:
        """``x == c`` and ``isnan(x)`` as functions of ``x``."""
        first = args[0]
        if op == "IsNaN":
            return None if first.op in {"Map", "Leaf"} else self.map(first, [], [], nan=True, default=False, dtype="b1")
        if args[1].op != "Constant":
            return None
        value = args[1].payload
        if first.op == "Map" and self.domain(first.args[0]) is not None:
            return self._codes_with(first, value)
        if first.op in {"Map", "Leaf"}:
            return None
        if np.isnan(value) or (np.isinf(value) and self.finite(first)):
            return self.constant(value=False, dtype="b1")
        return self.map(first, [value], [True], nan=False, default=False, dtype="b1")

    def _codes_with(self, term: Term, value: Any) -> Term:
        """Where a function of codes has this value; worked out for all its values at once."""
        base, held = term.args[0], term.payload
        if term.number not in self._inverse:
            domain = self.domain(base)
            assert domain is not None  # noqa: S101 (the caller looked)
            full, _, _ = self._at(term, base, domain)
            order = np.argsort(full, kind="stable")
            values, starts = np.unique(full[order], return_index=True)
            self._inverse[term.number] = dict(zip(values.tolist(), np.split(domain[order], starts[1:]), strict=True))
        keys = self._inverse[term.number].get(float(value), np.empty(0))
        return self.map(base, np.sort(keys), np.ones(len(keys), np.bool_), held.nan == value, default=False, dtype="b1")

    def _simplified(self, op: str, args: tuple[Term, ...]) -> Term | None:  # noqa: PLR0911 (a table)
        """Identities that hold for every bit pattern (of finite numbers, infinities and NaN)."""
        last = args[-1]
        if op == "Mul" and last.op == "Constant":
            return self._scaled(args[0], last)
        if op in {"And", "Or"} and last.op == "Constant":
            return last if bool(last.payload) is (op == "Or") else args[0]
        if op == "Where":
            return self._chosen(*args)
        if op == "Sub" and args[0].op == "Round":
            return self._residue(*args)
        if op == "Pow" and (args[0] is not self.constant(2.0) or last.op != "Floor"):
            raise NotProvedError(
                "a power is taken of another number than 2, or with an exponent that may be no whole one"
            )
        if op == "Div" and args[0].op == "Exp" and args[1].op == "Dot":
            return self._softmax(args[0], args[1])
        if op == "Div" and args[0] is self.constant(1.0) and args[1].op == "Add":
            first, second = args[1].args
            if first.op == "Exp" and second is self.constant(1.0):
                return self.apply("Expit", self.apply("Neg", first.args[0]))
        if op == "Mod":
            return self._digit(args[0], last)
        return None

    def _chosen(self, condition: Term, a: Term, b: Term) -> Term | None:
        """``Where`` of a condition that is known, of equal parts, and the guards of places in tables."""
        if condition.op == "Constant":
            return a if condition.payload else b
        if a is b:
            return a
        if condition.op == "Equal" and b is self.constant(np.nan) and condition is self._is_whole(a):
            return self._intern("Whole", "f8", (a,), None)
        if a is self.constant(0.0) and b.op == "Residue" and condition is self.apply("IsNaN", b):
            return self._intern("Place", "f8", b.args, b.payload, b.payload)
        return None

    def _softmax(self, power: Term, total: Term) -> Term | None:
        """``exp(x[k] - max(x)) / sum(exp(x - max(x)))`` as the soft-max that it is."""
        weights, bias = total.payload
        shifts = [part.args[0] for part in total.args if part.op == "Exp" and part.args[0].op == "Sub"]
        if bias or (weights != 1).any() or len(shifts) != len(total.args) or power not in total.args:
            return None
        scores, largest = [shift.args[0] for shift in shifts], shifts[0].args[1]
        if largest is not self.several("Largest", scores) or any(shift.args[1] is not largest for shift in shifts):
            return None
        return self.several("Softmax", scores, total.args.index(power))

    def _scaled(self, term: Term, factor: Term) -> Term | None:
        value = factor.payload
        if value == 1.0:
            return term
        if value == -1.0 and term.op == "Dot":
            weights, bias = term.payload
            return self.dot(term.args, -weights, -bias)
        if term.op == "Mul" and term.args[1].op == "Constant":
            inner = term.args[1].payload
            if abs(value) == 1.0 or abs(inner) == 1.0:
                return self.apply("Mul", term.args[0], self.constant(value * inner, factor.dtype))
        return None

    def _residue(self, number: Term, multiple: Term) -> Term | None:
        """``n - k * floor(n / k)`` of a whole ``n``, ``k`` a power of two: exact, 0 to ``k - 1``, NaN if infinite."""
        if multiple.op != "Mul" or multiple.args[0].op != "Floor" or multiple.args[1].op != "Constant":
            return None
        size, quotient = float(multiple.args[1].payload), multiple.args[0].args[0]
        if not _is_power_of_two(size) or size < 2 or quotient is not self.apply("Mul", number, self.constant(1 / size)):
            return None
        return self._intern("Residue", "f8", (number,), size, size)

    def _is_whole(self, term: Term) -> Term:
        return self.apply("Equal", term, self.apply("Floor", term))

    def whole(self, term: Term) -> Term:
        """The term where it is a whole number, and NaN elsewhere."""
        return self.apply("Where", self._is_whole(term), term, self.constant(np.nan))

    def _digit(self, term: Term, base: Term) -> Term | None:
        """A digit of a sum of powers of ``base``: how many trees voted for a class.

        Trees that vote ``base**k`` are added, at most ``base - 1`` of them, all below ``2**53``: the sum is exact in
        any order, and its digit ``k`` is the number of trees that voted for ``k``.
        """
        if term.op != "Floor" or base.op != "Constant":
            return None
        inner, scale = term.args[0], 1.0
        if inner.op == "Mul" and inner.args[1].op == "Constant":
            inner, scale = inner.args[0], float(inner.args[1].payload)
        number, unit = float(base.payload), 1.0 / scale if scale else 0.0
        if inner.op not in {"Fold", "Leaf"} or not _is_power_of_two(number) or number < 2 or not _is_power_of_two(unit):
            return None
        trees = inner.args if inner.op == "Fold" else (inner,)
        votes = [np.atleast_1d(tree.payload.values if tree.op == "Leaf" else tree.payload) for tree in trees]
        exponents = np.log2(np.concatenate(votes)) / np.log2(number)
        top = number ** (exponents.max() + 1)
        if (exponents != np.floor(exponents)).any() or exponents.min() < 0 or top > 2.0**53 or len(trees) >= number:
            return None
        if unit not in number ** np.arange(exponents.max() + 1):
            return None
        return self.fold(
            [
                self.leaves(tree.payload.tree, (vote == unit).astype(np.float64))
                if tree.op == "Leaf"
                else self.constant(float(vote[0] == unit))
                for tree, vote in zip(trees, votes, strict=True)
            ]
        )

    def _cast(self, term: Term, to: Dtype) -> Term:
        if term.dtype == to:
            return term
        with np.errstate(all="ignore"):
            if term.op == "Constant":
                return self.constant(term.payload.astype(_NP[to]), to)
            if term.op == "Leaf":
                return self.leaves(term.payload.tree, _whole_numbers(term.payload.values, to), to)
            if term.op == "Map":
                held: Table = term.payload
                values = _whole_numbers(held.values, to)
                nan, default = (_whole_numbers(np.asarray(part), to)[()] for part in (held.nan, held.default))
                return self.map(term.args[0], held.keys, values, nan, default, to)
        if self.domain(term) is not None and to == "i8":
            raise NotProvedError("codes are cast to integers where they may be missing")
        if to == "i8" and term.dtype != "b1" and term.op != "Place":
            raise NotProvedError("numbers are cast to integers")
        return self._intern("Cast", to, (term,), None)

    def look_up(self, table: npt.NDArray[Any], index: Term, dtype: Dtype) -> Term:
        """``table[index]``.

        Raises:
            NotProvedError: The index may lie outside the table, or is not that of a leaf or of a code.
        """
        if index.op == "Leaf":
            return self.leaves(index.payload.tree, table[_inside(index.payload.values, len(table))], dtype)
        if index.op == "Constant":
            return self.constant(table[_inside(index.payload, len(table))], dtype)
        if index.op == "Cast" and index.args[0].op == "Place":
            if index.args[0].payload > len(table):
                raise NotProvedError(f"a position outside a table of {len(table)} entries")
            return self._intern("Pick", dtype, (index.args[0],), _bits(table), table)
        if index.op != "Map":
            raise NotProvedError("a table is read at a position that is neither a leaf's nor a code's")
        held: Table = index.payload
        values, nan, default = (table[_inside(part, len(table))] for part in (held.values, held.nan, held.default))
        return self.map(index.args[0], held.keys, values, nan, default, dtype)

    def finite(self, term: Term) -> bool:
        """Whether a term holds no infinity, the row's columns being finite or NaN."""
        if term.op == "Constant":
            return not bool(np.isinf(term.payload))
        if term.op == "Where":
            return self.finite(term.args[1]) and self.finite(term.args[2])
        return term.op in {"Input", "Whole"}


def _is_zero(term: Term) -> bool:
    """Comparisons do not tell -0 from 0."""
    return term.op == "Constant" and term.dtype != "b1" and bool(term.payload == 0)


def _same(values: npt.NDArray[Any], other: Any) -> Any:
    """Whether bits are equal, all NaN being one."""
    other = np.asarray(other, dtype=values.dtype)
    if values.dtype.kind != "f":
        return values == other
    return ((values == other) & (np.signbit(values) == np.signbit(other))) | (np.isnan(values) & np.isnan(other))


def _bits(values: Any) -> bytes:
    return _patterns(np.atleast_1d(values)).tobytes()


def _with_commonest(
    domain: FloatArray, keys: FloatArray, values: npt.NDArray[Any], default: Any
) -> tuple[FloatArray, npt.NDArray[Any], Any]:
    """The same function on a finite domain, its default the commonest value; of equally common ones, the least bits."""
    n_default = len(domain) - len(keys)
    if len(keys) < n_default:
        return keys, values, default
    every = np.append(values, default)
    counts = np.append(np.ones(len(values), dtype=np.int64), n_default)
    patterns, first, owner = np.unique(_patterns(every), return_index=True, return_inverse=True)
    totals = np.bincount(owner, weights=counts, minlength=len(patterns))
    chosen = every[first[totals.argmax()]]
    full = np.full(len(domain), default, dtype=values.dtype)
    full[np.searchsorted(domain, keys)] = values
    differs = ~_same(full, chosen)
    return domain[differs], full[differs], chosen


def _patterns(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Bits as unsigned integers, all NaN being one."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")


def _is_power_of_two(value: Any) -> bool:
    number = abs(float(value))
    return bool(np.isfinite(number)) and 2.0**-500 < number < 2.0**500 and np.frexp(number)[0] == 0.5


def _whole_numbers(values: npt.NDArray[Any], to: Dtype) -> npt.NDArray[Any]:
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) <= 2.0**53)
    if to == "i8" and not whole.all():
        raise NotProvedError("numbers that are no whole ones are cast to integers")
    return values.astype(_NP[to])


def _inside(positions: Any, length: int) -> Any:
    if (np.asarray(positions) < 0).any() or (np.asarray(positions) >= length).any():
        raise NotProvedError(f"a position outside a table of {length} entries")
    return positions
