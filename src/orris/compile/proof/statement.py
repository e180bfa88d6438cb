"""The computation of a fitted estimator, stated as terms; and where a family of estimators registers its statement.

The statements are written from the estimators' own sources, apart from the converters, in the package ``statements``: a
new family is one module there. A statement takes the algebra, the fitted estimator and the columns that reach it:

    @states_step("sklearn.StandardScaler")
    def standard_scaler(algebra, step, columns) -> Columns: ...

    @states_model("xgboost.XGBRegressor")
    def regressor(algebra, model, columns) -> Answer: ...

A new family of trees gives its own table of trees as a ``forest.Forest`` and adds it up with ``forest.totals``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

import numpy as np

from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError
from orris.schema import Kind, Schema
from orris.schema.arrays import FloatArray
from orris.schema.frames import decode

UNSEEN_NAME = "\ufffdunseen"
"""Stands in for a level that no fitted estimator knows."""

_TAKES_SINGLE = frozenset(
    f"sklearn.{name}"
    for name in (
        "ColumnTransformer",
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "GridSearchCV",
        "Pipeline",
        "RandomForestClassifier",
        "RandomForestRegressor",
        "RandomizedSearchCV",
    )
)
"""Estimators that pass float32 columns on, or compare them: trees round to float32 themselves, and add in float64."""

_STATEMENTS = "orris.compile.proof.statements"


@dataclass(frozen=True)
class Coded:
    """A column of categories: what the estimator sees for each code of the input column ``base``.

    Attributes:
        base: The input column.
        seen: For each code of the column's domain, in order: the object that stands in the row.
        missing: The object that stands for the missing value.
        is_category: Whether it is of pandas' ``category`` dtype, as the table is given to the pipeline.
    """

    base: Term
    seen: tuple[Any, ...]
    missing: Any
    is_category: bool = False

    @property
    def objects(self) -> tuple[Any, ...]:
        """All of them, the missing value last."""
        return (*self.seen, self.missing)


@dataclass(frozen=True)
class Column:
    """One column that reaches an estimator: a number (``content`` is its term), or categories.

    ``single`` says that it is given as float32: an estimator whose columns all are might compute in it.
    """

    content: Term | Coded
    name: str = ""
    single: bool = False


@dataclass(frozen=True)
class Columns:
    """The input of an estimator; ``sparse`` if scikit-learn holds it as a sparse matrix."""

    columns: tuple[Column, ...]
    sparse: bool = False

    @classmethod
    def of(cls, terms: Sequence[Term | Coded], *, sparse: bool = False) -> Columns:
        """Columns without names, as after a step that returns an array."""
        return cls(tuple(Column(term) for term in terms), sparse)


@dataclass(frozen=True)
class Answer:
    """The answers of a model: positions of classes and their probabilities, or a value.

    ``decision`` is what ``decision_function`` returns: one number for two classes, else one for each. ``single`` says
    that NumPy holds the numbers in float32, and would compute further in it.
    """

    label: Term | None = None
    probabilities: tuple[Term, ...] | None = None
    value: Term | None = None
    decision: tuple[Term, ...] | None = None
    single: bool = False


Step = Callable[[Algebra, Any, Columns], Columns]
Model = Callable[[Algebra, Any, Columns], Answer]
_S = TypeVar("_S", bound=Step)
_M = TypeVar("_M", bound=Model)
_steps: dict[str, Step] = {}
_models: dict[str, Model] = {}


def states_step(*names: str) -> Callable[[_S], _S]:
    """Register the statement of transformers, each named by its package and class."""

    def register(statement: _S) -> _S:
        _steps.update(dict.fromkeys(names, statement))
        return statement

    return register


def states_model(*names: str) -> Callable[[_M], _M]:
    """Register the statement of classifiers or regressors, each named by its package and class."""

    def register(statement: _M) -> _M:
        _models.update(dict.fromkeys(names, statement))
        return statement

    return register


def name_of(estimator: Any) -> str:
    """Package and class, as the statements are registered."""
    return f"{type(estimator).__module__.split('.')[0]}.{type(estimator).__name__}"


def stated() -> dict[str, list[str]]:
    """All estimators that have a statement, ``package.Class``, by the module of ``statements`` that has it."""
    _import_families()
    found: dict[str, set[str]] = {}
    for name, statement in (*_steps.items(), *_models.items()):
        found.setdefault(statement.__module__.rpartition(".")[2], set()).add(name)
    return {module: sorted(found[module]) for module in sorted(found)}


def state(algebra: Algebra, estimator: Any, schema: Schema) -> Answer:
    """The answers of a fitted pipeline to the rows of ``schema``.

    Raises:
        NotProvedError: Some step has no statement, or none for one of its settings; says which.
    """
    _import_families()
    return predicted(algebra, estimator, inputs(algebra, schema))


@cache
def _import_families() -> None:
    for module in pkgutil.iter_modules(import_module(_STATEMENTS).__path__):
        import_module(f"{_STATEMENTS}.{module.name}")


def transformed(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """The columns after a fitted transformer."""
    statement = _steps.get(name_of(step))
    if statement is None:
        raise NotProvedError(f"there is no statement of what {type(step).__name__} computes")
    require_names(step, columns)
    _require_double(step, columns)
    return statement(algebra, step, columns)


def predicted(algebra: Algebra, model: Any, columns: Columns) -> Answer:
    """The answers of a fitted classifier or regressor."""
    statement = _models.get(name_of(model))
    if statement is None:
        raise NotProvedError(f"there is no statement of what {type(model).__name__} computes")
    require_names(model, columns)
    _require_double(model, columns)
    return statement(algebra, model, columns)


def _require_double(estimator: Any, columns: Columns) -> None:
    """Raise ``NotProvedError`` if an estimator might compute in float32, because all its columns are of that type."""
    numeric = [column for column in columns.columns if isinstance(column.content, Term)]
    if numeric and all(column.single for column in numeric) and name_of(estimator) not in _TAKES_SINGLE:
        raise NotProvedError(f"{type(estimator).__name__} may compute in float32, which has no statement")


def require_names(estimator: Any, columns: Columns) -> None:
    """Raise ``NotProvedError`` if named columns come in another order or number than the estimator was fitted on."""
    if type(estimator).__name__ in {"ColumnTransformer", "Pipeline"}:
        return  # They find columns by name, or leave it to their steps.
    names = [column.name for column in columns.columns]
    fitted = getattr(estimator, "feature_names_in_", None)
    if fitted is not None and all(names) and names != [str(name) for name in fitted]:
        raise NotProvedError(f"{type(estimator).__name__} was fitted on columns in another order")
    if getattr(estimator, "n_features_in_", len(names)) != len(names):
        raise NotProvedError(f"{type(estimator).__name__} was fitted on another number of columns")


def domains(schema: Schema) -> dict[int, FloatArray]:
    """The codes that the contract lets a row hold, by position of the column."""
    return {
        j: np.arange(-1.0 if column.unseen else 0.0, float(len(column.levels)))
        for j, column in enumerate(schema.columns)
        if column.kind is Kind.CATEGORY
    }


def inputs(algebra: Algebra, schema: Schema) -> Columns:
    """The encoded row as the pipeline's first step sees it.

    Raises:
        NotProvedError: A column is given to the pipeline in another type than float64 holds.
    """
    columns = []
    any_single = any(column.dtype == "float32" for column in schema.columns)
    for j, column in enumerate(schema.columns):
        name = column.name if schema.container == "frame" else ""
        term = algebra.input(j)
        if column.kind is Kind.CATEGORY:
            columns.append(Column(_coded(schema, j, term, algebra.codes[j]), name))
            continue
        if column.dtype == "float32":
            rounded = algebra.apply("Cast", algebra.apply("Cast", term, to="f4"), to="f8")
            columns.append(Column(rounded, name, single=True))
            continue
        if column.dtype not in {"float64", "int64", "bool", "object"}:
            raise NotProvedError(f"the column '{column.name}' is given to the pipeline as {column.dtype}")
        if column.dtype == "object" and column.missing_as == "none":
            raise NotProvedError(f"the column '{column.name}' holds None for a missing number")
        # Booleans beside float32 become float32.
        columns.append(Column(term, name, single=column.dtype == "bool" and any_single))
    return Columns(tuple(columns))


def _coded(schema: Schema, j: int, term: Term, codes: FloatArray) -> Coded:
    rows = np.zeros((len(codes) + 1, schema.n_columns))
    rows[:, j] = np.append(codes, np.nan)
    table = decode(schema, rows, UNSEEN_NAME)
    objects = np.asarray(table[schema.names[j]] if hasattr(table, "columns") else table[:, j], dtype=object).tolist()
    is_category = schema.container == "frame" and schema.columns[j].dtype == "category"
    return Coded(term, tuple(objects[:-1]), objects[-1], is_category)


def is_nan(value: Any) -> bool:
    """Whether an object is a floating-point NaN."""
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def numbers(algebra: Algebra, columns: Columns, estimator: Any) -> list[Term]:
    """The columns as numbers; integer categories are the integers themselves.

    Raises:
        NotProvedError: A column holds text.
    """
    terms = []
    for column in columns.columns:
        content = column.content
        if isinstance(content, Term):
            terms.append(content)
            continue
        if any(isinstance(value, str) or value is None for value in content.seen):
            raise NotProvedError(f"{type(estimator).__name__} is given the category column '{column.name}'")
        terms.append(table_of(algebra, content, [float(value) for value in content.seen], np.nan))
    return terms


def table_of(algebra: Algebra, content: Coded, values: Sequence[Any], missing: Any) -> Term:
    """The function of a category column that is ``values[i]`` for its code ``i``, and ``missing`` for NaN."""
    domain = algebra.domain(content.base)
    assert domain is not None  # noqa: S101 (a coded column has a domain)
    return algebra.map(content.base, domain, np.asarray(values, dtype=np.float64), missing, np.nan)


def with_terms(columns: Columns, terms: Sequence[Term]) -> Columns:
    """Other contents under no names, held as before."""
    return replace(columns, columns=tuple(Column(term) for term in terms))
