"""The computation of scikit-learn's preprocessing, from its ``transform`` methods: operators in order and constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orris.compile.proof.statement import (
    Answer,
    Coded,
    Column,
    Columns,
    is_nan,
    numbers,
    predicted,
    states_model,
    states_step,
    table_of,
    transformed,
    with_terms,
)
from orris.compile.proof.terms import Algebra, Term
from orris.errors import NotProvedError

_SEARCHES = tuple(
    f"sklearn.{name}" for name in ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
)
_SELECTORS = tuple(
    f"sklearn.{name}"
    for name in (
        "VarianceThreshold",
        "SelectKBest",
        "SelectPercentile",
        "SelectFpr",
        "SelectFdr",
        "SelectFwe",
        "GenericUnivariateSelect",
        "SelectFromModel",
        "SequentialFeatureSelector",
        "RFE",
        "RFECV",
    )
)


def _passes(step: Any) -> bool:
    """Whether a step leaves predicted rows as they are; a sampler of imbalanced-learn only acts while fitting."""
    return step is None or (isinstance(step, str) and step == "passthrough") or hasattr(step, "fit_resample")


@states_step("sklearn.Pipeline", "imblearn.Pipeline")
def pipeline_step(algebra: Algebra, pipeline: Any, columns: Columns) -> Columns:
    """Every step in turn."""
    for _, step in pipeline.steps:
        columns = columns if _passes(step) else transformed(algebra, step, columns)
    return columns


@states_model("sklearn.Pipeline", "imblearn.Pipeline")
def pipeline_model(algebra: Algebra, pipeline: Any, columns: Columns) -> Answer:
    """Every step in turn, the last of which answers."""
    for _, step in pipeline.steps[:-1]:
        columns = columns if _passes(step) else transformed(algebra, step, columns)
    return predicted(algebra, pipeline.steps[-1][1], columns)


@states_step(*_SEARCHES)
def search_step(algebra: Algebra, search: Any, columns: Columns) -> Columns:
    """The best estimator found."""
    return transformed(algebra, search.best_estimator_, columns)


@states_model(*_SEARCHES)
def search_model(algebra: Algebra, search: Any, columns: Columns) -> Answer:
    """The best estimator found."""
    return predicted(algebra, search.best_estimator_, columns)


@states_step("sklearn.FrozenEstimator")
def frozen_step(algebra: Algebra, frozen: Any, columns: Columns) -> Columns:
    """The estimator inside."""
    return transformed(algebra, frozen.estimator, columns)


@states_model("sklearn.FrozenEstimator")
def frozen_model(algebra: Algebra, frozen: Any, columns: Columns) -> Answer:
    """The estimator inside."""
    return predicted(algebra, frozen.estimator, columns)


@states_step("sklearn.FunctionTransformer")
def identity(_: Algebra, step: Any, columns: Columns) -> Columns:
    """The identity; any other function is not looked into."""
    if step.func is not None or step.validate:
        raise NotProvedError("FunctionTransformer with a function of its own has no statement")
    return columns


@states_step(*_SELECTORS)
def selector(_: Algebra, step: Any, columns: Columns) -> Columns:
    """The columns that the fitted selector keeps."""
    kept = [column for column, keeps in zip(columns.columns, step.get_support().tolist(), strict=True) if keeps]
    return Columns(tuple(Column(column.content) for column in kept), columns.sparse)


@states_step("sklearn.ColumnTransformer")
def column_transformer(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """Each transformer over its columns, side by side, in the order of ``transformers_``."""
    weights = step.transformer_weights or {}
    parts: list[Column] = []
    for name, inner, chosen in step.transformers_:
        if isinstance(inner, str) and inner == "drop":
            continue
        part = Columns(tuple(columns.columns[i] for i in _positions(step, chosen, columns)), columns.sparse)
        if not part.columns:
            continue
        if not (isinstance(inner, str) and inner == "passthrough"):
            part = transformed(algebra, inner, part)
        parts += _weighted(algebra, part, weights.get(name)).columns
    return Columns(tuple(Column(part.content) for part in parts), sparse=bool(step.sparse_output_))


def _positions(step: Any, chosen: Any, columns: Columns) -> list[int]:
    """Where the chosen columns are: by name in a table with names, otherwise by their position in training."""
    fitted = [str(name) for name in getattr(step, "feature_names_in_", ())]
    n_fitted = len(fitted) or step.n_features_in_
    if isinstance(chosen, str | int | np.integer):
        chosen = [chosen]
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            raise NotProvedError("ColumnTransformer selects columns by a range of names")
        chosen = list(range(n_fitted))[chosen]
    listed = np.asarray(chosen).tolist()
    if all(isinstance(entry, bool) for entry in listed) and len(listed) == n_fitted:
        listed = np.flatnonzero(listed).tolist()
    if all(isinstance(entry, str) for entry in listed):
        positions = [fitted.index(entry) for entry in listed]
    elif all(isinstance(entry, int) and not isinstance(entry, bool) for entry in listed):
        positions = [entry + n_fitted if entry < 0 else entry for entry in listed]
    else:
        raise NotProvedError("ColumnTransformer selects columns in a way that has no statement")
    names = [column.name for column in columns.columns]
    if not fitted or not all(names):
        return positions
    if len(set(names)) != len(names):
        raise NotProvedError("two columns have one name")
    return [names.index(fitted[i]) for i in positions]


@states_step("sklearn.FeatureUnion")
def feature_union(algebra: Algebra, union: Any, columns: Columns) -> Columns:
    """Each transformer over all columns, side by side."""
    weights = union.transformer_weights or {}
    parts = []
    for name, inner in union.transformer_list:
        if isinstance(inner, str) and inner == "drop":
            continue
        part = columns if isinstance(inner, str) else transformed(algebra, inner, columns)
        parts.append(_weighted(algebra, part, weights.get(name)))
    joined = tuple(Column(column.content) for part in parts for column in part.columns)
    return Columns(joined, sparse=any(part.sparse for part in parts))


def _weighted(algebra: Algebra, columns: Columns, weight: float | None) -> Columns:
    if weight is None:
        return columns
    factor = algebra.constant(float(weight))
    return with_terms(columns, [algebra.apply("Mul", term, factor) for term in numbers(algebra, columns, "a weight")])


def _each(algebra: Algebra, op: str, terms: Sequence[Term], constants: Any) -> list[Term]:
    """An operation with a constant for each column."""
    values = np.broadcast_to(np.asarray(constants, dtype=np.float64), (len(terms),))
    return [algebra.apply(op, term, algebra.constant(value)) for term, value in zip(terms, values, strict=True)]


def _divided(algebra: Algebra, columns: Columns, terms: list[Term], scale: Any) -> list[Term]:
    """By the scale; a sparse matrix is multiplied by its reciprocal."""
    if scale is None:
        return terms
    if columns.sparse:
        return _each(algebra, "Mul", terms, 1.0 / np.asarray(scale))
    return _each(algebra, "Div", terms, scale)


@states_step("sklearn.StandardScaler")
def standard_scaler(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X -= mean_``, ``X /= scale_``."""
    terms = numbers(algebra, columns, step)
    if step.with_mean:
        terms = _each(algebra, "Sub", terms, step.mean_)
    return with_terms(columns, _divided(algebra, columns, terms, step.scale_ if step.with_std else None))


@states_step("sklearn.RobustScaler")
def robust_scaler(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X -= center_``, ``X /= scale_``."""
    terms = numbers(algebra, columns, step)
    if step.with_centering:
        terms = _each(algebra, "Sub", terms, step.center_)
    return with_terms(columns, _divided(algebra, columns, terms, step.scale_ if step.with_scaling else None))


@states_step("sklearn.MaxAbsScaler")
def max_abs_scaler(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X /= scale_``, clipped to [-1, 1] if it says so."""
    terms = _divided(algebra, columns, numbers(algebra, columns, step), step.scale_)
    return with_terms(columns, _clipped(algebra, terms, (-1.0, 1.0)) if getattr(step, "clip", False) else terms)


@states_step("sklearn.MinMaxScaler")
def min_max_scaler(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X *= scale_``, ``X += min_``, clipped to ``feature_range`` if it says so."""
    terms = _each(algebra, "Mul", numbers(algebra, columns, step), step.scale_)
    terms = _each(algebra, "Add", terms, step.min_)
    return with_terms(columns, _clipped(algebra, terms, step.feature_range) if step.clip else terms)


def _clipped(algebra: Algebra, terms: Sequence[Term], bounds: Any) -> list[Term]:
    low, high = (algebra.constant(float(bound)) for bound in bounds)
    return [algebra.apply("Clip", term, low, high) for term in terms]


@states_step("sklearn.Binarizer")
def binarizer(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X > threshold``."""
    limit = algebra.constant(float(step.threshold))
    above = [algebra.apply("Greater", term, limit) for term in numbers(algebra, columns, step)]
    return with_terms(columns, [algebra.apply("Cast", term) for term in above])


@states_step("sklearn.PolynomialFeatures")
def polynomial_features(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """Products of columns, from the last factor to the first, in the order of ``powers_``."""
    if columns.sparse:
        raise NotProvedError("PolynomialFeatures over a sparse matrix has no statement")
    terms = numbers(algebra, columns, step)
    products = []
    for powers in step.powers_:
        factors = [terms[i] for i, power in enumerate(powers.tolist()) for _ in range(power)]
        product = factors.pop() if factors else algebra.constant(1.0)
        for factor in reversed(factors):
            product = algebra.apply("Mul", product, factor)
        products.append(product)
    return Columns.of(products)


@states_step("sklearn.PCA")
def pca(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """``X @ components_.T``, less the projected mean, by the root of the variance if whitened."""
    terms = numbers(algebra, columns, step)
    made = [algebra.dot(terms, row, 0.0) for row in np.asarray(step.components_, dtype=np.float64)]
    made = _each(algebra, "Sub", made, (np.reshape(step.mean_, (1, -1)) @ step.components_.T)[0])
    if step.whiten:
        scale = np.sqrt(step.explained_variance_)
        made = _each(algebra, "Div", made, np.maximum(scale, np.finfo(scale.dtype).eps))
    return Columns.of(made)


@states_step("sklearn.SimpleImputer")
def simple_imputer(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """Missing values replaced by ``statistics_``; columns without one dropped; indicators appended if it says so."""
    statistics = np.asarray(step.statistics_, dtype=object)
    fill_dtype = getattr(step, "_fill_dtype", None)
    contents: list[Term | Coded] = []
    for column, statistic in zip(columns.columns, statistics.tolist(), strict=True):
        if is_nan(statistic) and not step.keep_empty_features:
            continue
        fill = statistic if fill_dtype is None else np.asarray([statistic], dtype=object).astype(fill_dtype).tolist()[0]
        contents.append(_filled(algebra, column.content, fill, step.missing_values))
    if step.add_indicator:
        contents += [
            _indicator(algebra, columns.columns[i].content, step.missing_values)
            for i in np.asarray(step.indicator_.features_).tolist()
        ]
    return Columns.of(contents, sparse=columns.sparse)


@states_step("sklearn.MissingIndicator")
def missing_indicator(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """One where a value is missing, for each column that had missing values in training."""
    chosen = [columns.columns[i].content for i in np.asarray(step.features_).tolist()]
    return Columns.of([_indicator(algebra, content, step.missing_values) for content in chosen], sparse=columns.sparse)


def _is_missing(value: Any, missing_values: Any) -> bool:
    if is_nan(missing_values):
        return is_nan(value)
    if missing_values is None:
        return value is None
    if not isinstance(missing_values, str | int | float | np.number):
        raise NotProvedError(f"an imputer whose missing value is {missing_values!r} has no statement")
    return bool(value == missing_values)


def _mask(algebra: Algebra, term: Term, missing_values: Any) -> Term:
    if is_nan(missing_values):
        return algebra.apply("IsNaN", term)
    if isinstance(missing_values, str | bool) or not isinstance(missing_values, int | float | np.number):
        raise NotProvedError(f"an imputer of numbers whose missing value is {missing_values!r} has no statement")
    return algebra.apply("Equal", term, algebra.constant(float(missing_values)))


def _filled(algebra: Algebra, content: Term | Coded, fill: Any, missing_values: Any) -> Term | Coded:
    if isinstance(content, Coded):
        filled = [fill if _is_missing(value, missing_values) else value for value in content.objects]
        return Coded(content.base, tuple(filled[:-1]), filled[-1])
    if isinstance(fill, str) or fill is None:
        raise NotProvedError("an imputer fills a column of numbers with text")
    return algebra.apply("Where", _mask(algebra, content, missing_values), algebra.constant(float(fill)), content)


def _indicator(algebra: Algebra, content: Term | Coded, missing_values: Any) -> Term:
    if isinstance(content, Coded):
        flags = [float(_is_missing(value, missing_values)) for value in content.objects]
        return table_of(algebra, content, flags[:-1], flags[-1])
    return algebra.apply("Cast", _mask(algebra, content, missing_values))


class _Positions:
    """Finds values in an encoder's ``categories_`` as scikit-learn does: NaN is NaN, None is a category of its own."""

    def __init__(self, categories: Any) -> None:
        self.listed = list(categories.tolist())
        self._known = {value: i for i, value in enumerate(self.listed) if not is_nan(value)}
        self.nan = next((i for i, value in enumerate(self.listed) if is_nan(value)), None)

    def find(self, value: Any) -> int | None:
        """The position, or ``None`` for an unknown value."""
        return self.nan if is_nan(value) else self._known.get(value)

    def numbers(self) -> list[tuple[float, int]]:
        """The categories that a column of numbers can hold, with their positions."""
        return [(float(value), i) for value, i in self._known.items() if isinstance(value, int | float)]


def _encoded(algebra: Algebra, content: Term | Coded, known: _Positions, meaning: dict[int | None, float]) -> Term:
    """The function that gives each category ``meaning[position]``, and an unknown value ``meaning[None]``."""
    if isinstance(content, Coded):
        values = [meaning[known.find(value)] for value in content.objects]
        return table_of(algebra, content, values[:-1], values[-1])
    if content.op in {"Leaf"}:
        raise NotProvedError("an encoder over the answers of trees has no statement")
    keys = known.numbers()
    return algebra.map(
        content, [key for key, _ in keys], [meaning[i] for _, i in keys], meaning[known.nan], meaning[None]
    )


@states_step("sklearn.OrdinalEncoder")
def ordinal_encoder(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """The position among the categories, infrequent ones sharing the last."""
    _require_double(step)
    made = []
    infrequent = _infrequent(step, len(columns.columns))
    unknown = np.nan if step.unknown_value is None else float(step.unknown_value)
    for i, column in enumerate(columns.columns):
        known = _Positions(step.categories_[i])
        n_known = len(known.listed) - (known.nan is not None)
        frequent = [k for k in range(len(known.listed)) if k not in infrequent[i] and k != known.nan]
        meaning: dict[int | None, float] = {k: float(rank) for rank, k in enumerate(frequent)}
        meaning |= {k: float(len(frequent)) for k in infrequent[i]}
        if not infrequent[i] and n_known != len(frequent):
            raise NotProvedError("OrdinalEncoder has the missing value among its categories, but not as the last")
        meaning[None] = unknown
        if known.nan is not None:
            meaning[known.nan] = float(step.encoded_missing_value)
        made.append(_encoded(algebra, column.content, known, meaning))
    return Columns.of(made)


@states_step("sklearn.TargetEncoder")
def target_encoder(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """The category's encoding; the target's mean if unknown."""
    if step.target_type_ == "multiclass":
        raise NotProvedError("TargetEncoder over more than two classes has no statement")
    made = []
    for column, categories, encodings in zip(columns.columns, step.categories_, step.encodings_, strict=True):
        meaning: dict[int | None, float] = dict(enumerate(np.asarray(encodings, dtype=np.float64).tolist()))
        meaning[None] = float(np.ravel(step.target_mean_)[0])
        made.append(_encoded(algebra, column.content, _Positions(categories), meaning))
    return Columns.of(made)


@states_step("sklearn.OneHotEncoder")
def one_hot_encoder(algebra: Algebra, step: Any, columns: Columns) -> Columns:
    """One column for each frequent category that is not dropped, and one for all infrequent ones."""
    _require_double(step)
    infrequent = _infrequent(step, len(columns.columns))
    made: list[Term] = []
    for i, column in enumerate(columns.columns):
        known = _Positions(step.categories_[i])
        groups: list[list[int | None]] = [[k] for k in range(len(known.listed)) if k not in infrequent[i]]
        if infrequent[i]:
            groups.append([*sorted(infrequent[i])])
            if step.handle_unknown in {"infrequent_if_exist", "warn"}:
                groups[-1].append(None)
        dropped = None if step.drop_idx_ is None else step.drop_idx_[i]
        kept = [group for group in groups if dropped is None or int(dropped) not in group]
        made += _one_hot(algebra, column.content, known, kept)
    return Columns.of(made, sparse=bool(step.sparse_output))


def _one_hot(algebra: Algebra, content: Term | Coded, known: _Positions, groups: list[list[int | None]]) -> list[Term]:
    """An indicator of each group of categories; ``None`` in a group is every unknown value."""
    if isinstance(content, Coded):
        domain = algebra.domain(content.base)
        assert domain is not None  # noqa: S101
        codes: dict[int | None, list[float]] = {}
        for code, value in zip(domain.tolist(), content.seen, strict=True):
            codes.setdefault(known.find(value), []).append(code)
        missing = known.find(content.missing)
        made = []
        for group in groups:
            keys = [code for k in group for code in codes.get(k, [])]
            made.append(algebra.map(content.base, keys, np.ones(len(keys)), float(missing in group), 0.0))
        return made
    positions = {k: key for key, k in known.numbers()}
    made = []
    for group in groups:
        others = float(None in group)
        inside = [positions[k] for k in group if k is not None and k in positions]
        outside = [key for k, key in positions.items() if k not in group] if others else []
        values = np.append(np.ones(len(inside)), np.zeros(len(outside)))
        made.append(algebra.map(content, inside + outside, values, float(known.nan in group), others))
    return made


def _infrequent(step: Any, n_columns: int) -> list[set[int]]:
    """Positions of the infrequent categories of each column."""
    found = getattr(step, "infrequent_categories_", None) if getattr(step, "_infrequent_enabled", False) else None
    if found is None:
        return [set()] * n_columns
    made = []
    for categories, rare in zip(step.categories_, found, strict=True):
        known = _Positions(categories)
        made.append(set() if rare is None else {known.find(value) for value in rare.tolist()})
    return [{k for k in part if k is not None} for part in made]


def _require_double(step: Any) -> None:
    if np.dtype(step.dtype) != np.float64 and np.dtype(step.dtype).kind not in "iub":
        raise NotProvedError(f"{type(step).__name__} returns {np.dtype(step.dtype)}")
