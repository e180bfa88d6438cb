"""Arrays that estimators pass to compiled code, in a skops file: read only if all shapes and positions are valid.

scikit-learn's compiled modules (libsvm, trees, neighbours, k-means) and SciPy's sparse matrices take arrays as they
are: a forged file could let them read or write outside these arrays when the model predicts. Which compiled modules an
estimator's class calls is not a list from memory: ``require_sound`` finds them in the modules that define the class,
in the scikit-learn that is installed, and refuses an estimator that calls one that is not in ``KNOWN``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType
from typing import Any

import numpy as np

Check = Callable[[Any], None]
"""Raises ``ValueError`` for an estimator whose state compiled code must not be given."""

_LIBSVM_KERNELS = ("linear", "poly", "rbf", "sigmoid", "precomputed")
_MOST_THREADS = 1024


def require_sound(part: Any) -> None:
    """Raise ``ValueError`` if ``part`` would lead compiled code outside its arrays, or if that cannot be known.

    Args:
        part: Anything that a skops file holds.
    """
    kind = type(part)
    if hasattr(
        part, "check_format"
    ):  # a sparse matrix or array of SciPy, whose positions its constructor does not check
        part.check_format(full_check=True)
    for base in kind.__mro__:
        check = BUILDERS.get(f"{base.__module__}.{base.__qualname__}")
        if check is not None:
            check(part)
    called = _called(part)
    unknown = sorted(called - KNOWN.keys())
    _require(not unknown, part, f"is computed by {', '.join(unknown)}, whose arrays this Orris cannot check")
    checks = {check for compiled in called if (check := KNOWN[compiled]) is not None}
    if checks and not any(name.startswith("_") or name.endswith("_") for name in vars(part)):
        return  # not fitted: it has parameters alone
    if checks:
        shadowed = sorted(name for name in vars(part) if hasattr(kind, name))
        _require(not shadowed, part, f"has {', '.join(shadowed)} of its own in the place of its class's")
    for check in checks:
        check(part)


def parts(root: Any) -> Iterator[Any]:
    """Everything that an estimator holds, directly or in containers and attributes."""
    seen: set[int] = set()
    left = [root]
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, dict):
            left += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple | set | frozenset):
            left += part
        elif isinstance(part, np.ndarray) and part.dtype.hasobject:
            left += np.asarray(part).ravel().tolist()
        left += getattr(part, "__dict__", {}).values()


def _called(part: Any) -> set[str]:
    """The compiled modules that the class of an estimator names; none for what is no estimator."""
    if not hasattr(type(part), "get_params"):
        return set()
    return {compiled for base in type(part).__mro__ for compiled in compiled_modules(base.__module__)}


@functools.cache
def compiled_modules(module: str) -> frozenset[str]:
    """The compiled modules of scikit-learn and SciPy that a module of scikit-learn names: itself, or parts of them."""
    if not module.startswith("sklearn."):
        return frozenset()
    found = set()
    for value in vars(sys.modules[module]).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        origin = getattr(sys.modules.get(name), "__file__", None) if isinstance(name, str) else None
        if origin and origin.endswith(tuple(EXTENSION_SUFFIXES)) and str(name).startswith(("sklearn.", "scipy.")):
            found.add(str(name))
    return frozenset(found)


def _require(holds: bool, part: Any, problem: str) -> None:
    if not holds:
        raise ValueError(f"a {type(part).__name__} in it {problem}")


def _is_array(array: Any, dtype: type, shape: tuple[int, ...]) -> bool:
    return isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype


def _check_svm(svm: Any) -> None:
    """Arrays of libsvm: ``l`` support vectors of ``m`` classes (2 for a regression or one class).

    libsvm reads ``m`` counts, ``(m - 1, l)`` coefficients and ``m (m - 1) / 2`` intercepts, whatever it is given.
    """
    classifies = hasattr(svm, "classes_")
    n_classes = len(svm.classes_) if classifies else 2
    _require(classifies == (svm._impl in {"c_svc", "nu_svc"}) and n_classes > 1, svm, "has too few classes")
    _require(isinstance(svm.kernel, str) and svm.kernel in _LIBSVM_KERNELS, svm, "has a kernel that libsvm has not")
    vectors, support, counts = svm.support_vectors_, svm.support_, svm._n_support
    n_vectors, n_pairs = len(support), n_classes * (n_classes - 1) // 2
    sparse = bool(svm._sparse)
    _require(sparse == hasattr(vectors, "indptr"), svm, "has support vectors that are sparse, or are not")
    _require(_is_array(support, np.int32, (n_vectors,)) and n_vectors > 0, svm, "has no support vectors")
    _require(_is_array(counts, np.int32, (n_classes,)), svm, "has other numbers of support vectors than classes")
    if classifies:
        _require(
            bool((counts >= 0).all()) and int(counts.sum()) == n_vectors,
            svm,
            "has other support vectors than it counts",
        )
    if svm.kernel == "precomputed":
        n_rows = svm.shape_fit_[0]
        _require(not sparse, svm, "has a precomputed kernel that is sparse")
        _require(bool((support >= 0).all() and (support < n_rows).all()), svm, "has support vectors outside its kernel")
    else:
        _require(vectors.shape == (n_vectors, svm.n_features_in_), svm, "has support vectors of another shape")
    coefficients = svm._dual_coef_
    _require(coefficients.shape == (n_classes - 1, n_vectors), svm, "has coefficients of another shape")
    if sparse:
        _require(vectors.format == coefficients.format == "csr", svm, "has sparse support vectors of another format")
        _require(coefficients.data.shape == ((n_classes - 1) * n_vectors,), svm, "has too few coefficients")
    _require(_is_array(svm._intercept_, np.float64, (n_pairs,)), svm, "has too few intercepts")
    for probabilities in (svm._probA, svm._probB):
        _require(
            any(_is_array(probabilities, np.float64, (n,)) for n in (0, n_pairs)), svm, "has too few probabilities"
        )
    _require(svm._probA.shape == svm._probB.shape, svm, "has too few probabilities")


def _check_neighbours(model: Any) -> None:
    """Points of neighbours: as wide as rows, as many as they say, with a class each."""
    points = getattr(model, "_fit_X", None)
    if points is None:  # a kernel density has its tree alone, which checks its rows
        return
    n_points = points.shape[0]
    _require(points.shape == (n_points, model.n_features_in_), model, "has points of another width than its rows")
    _require(model.n_samples_fit_ == n_points, model, "has another number of points than it says")
    classes, positions = getattr(model, "classes_", None), getattr(model, "_y", None)
    wanted = getattr(model, "n_neighbors_", None if classes is None else model.n_neighbors)
    _require(wanted is None or wanted <= n_points, model, "asks for more neighbours than it has points")
    if classes is None or positions is None:
        return
    widths = [len(each) for each in classes] if model.outputs_2d_ else [len(classes)]
    table = np.asarray(positions).reshape(len(positions), -1)
    _require(table.shape == (n_points, len(widths)), model, "has another number of classes than points")
    _require(
        bool((table >= 0).all() and (table < np.array(widths)).all()), model, "has a point of a class that is not there"
    )


def _check_boosting(model: Any) -> None:
    """Stages of trees, whose sums are written into a table with a column for each tree of a stage."""
    trees = model.estimators_
    _require(isinstance(trees, np.ndarray) and trees.ndim == 2 and trees.size > 0, model, "has no stages of trees")
    _require(all(hasattr(tree, "tree_") for tree in trees.ravel()), model, "has a stage that is no tree")
    _require(
        model.n_trees_per_iteration_ == trees.shape[1], model, "has another number of trees in a stage than it says"
    )
    if not isinstance(model.init_, str):
        # It is called below, so that it may hold nothing that compiled code reads.
        called = {name for part in parts(model.init_) for name in _called(part) if KNOWN.get(name, True) is not None}
        _require(not called, model, f"begins with an estimator that is computed by {', '.join(sorted(called))}")
    begin = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))
    _require(_is_array(begin, np.float64, (1, trees.shape[1])), model, "begins with sums of another shape")


def _check_means(model: Any) -> None:
    """Centres of clusters, each as wide as rows."""
    centres = model.cluster_centers_
    _require(centres.shape == (len(centres), model.n_features_in_), model, "has centres of another width than its rows")
    _require(len(centres) > 0 and 1 <= model._n_threads <= _MOST_THREADS, model, "has no centres, or no threads")


def _check_factors(model: Any) -> None:
    """Factors of a matrix: as many as the table of weights has columns."""
    n_components = model.components_.shape[0]
    for name in ("n_components", "_n_components", "n_components_"):
        wanted = getattr(model, name, None)
        _require(wanted in {None, "auto", n_components}, model, "has another number of components than it says")


def _check_hasher(model: Any) -> None:
    """Columns that hashes are divided by."""
    _require(0 < model.n_features < 2**31, model, "has no columns")


def _check_one_hot(encoder: Any) -> None:
    """Columns of the sparse table that codes are written to."""
    widths = getattr(encoder, "_n_features_outs", None)
    if widths is None:
        return
    dropped = getattr(encoder, "_drop_idx_after_grouping", None)
    mappings = getattr(encoder, "_default_to_infrequent_mappings", None)
    _require(len(widths) == len(encoder.categories_), encoder, "has another number of columns than categories")
    for i, width in enumerate(widths):
        codes = np.arange(len(encoder.categories_[i]))
        mapping = mappings[i] if mappings is not None and getattr(encoder, "_infrequent_enabled", False) else None
        if mapping is not None:
            codes = np.asarray(mapping)
        drop = None if dropped is None else dropped[i]
        if drop is not None:
            codes = codes[codes != drop]
            codes = np.where(codes > drop, codes - 1, codes)
        sound = codes.min(initial=0) >= 0 and codes.max(initial=-1) < width
        _require(bool(sound), encoder, "has fewer columns than categories")


def _check_vocabulary(vectorizer: Any) -> None:
    """Columns of the sparse table that words are counted in."""
    vocabulary = getattr(vectorizer, "vocabulary_", None)
    if vocabulary is not None:
        sound = sorted(vocabulary.values()) == list(range(len(vocabulary)))
        _require(sound, vectorizer, "has a word in a column that is not there")


BUILDERS: Mapping[str, Check] = {
    "sklearn.preprocessing._encoders.OneHotEncoder": _check_one_hot,
    "sklearn.feature_extraction.text.CountVectorizer": _check_vocabulary,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": _check_vocabulary,
    "sklearn.feature_extraction.text.HashingVectorizer": _check_hasher,
}
"""Classes that make sparse tables from positions in their state, which SciPy does not check."""

_FITTING = (
    "scipy.sparse.csgraph._shortest_path",
    "scipy.sparse.csgraph._traversal",
    "sklearn._isotonic",
    "sklearn._loss._loss",
    "sklearn.cluster._dbscan_inner",
    "sklearn.cluster._hdbscan._linkage",
    "sklearn.cluster._hdbscan._reachability",
    "sklearn.cluster._hdbscan._tree",
    "sklearn.cluster._hierarchical_fast",
    "sklearn.cluster._k_means_elkan",
    "sklearn.cluster._k_means_minibatch",
    "sklearn.linear_model._cd_fast",
    "sklearn.linear_model._sag_fast",
    "sklearn.linear_model._sgd_fast",
    "sklearn.manifold._barnes_hut_tsne",
    "sklearn.manifold._utils",
    "sklearn.preprocessing._target_encoder_fast",
    "sklearn.svm._liblinear",
    "sklearn.tree._criterion",
    "sklearn.tree._splitter",
    "sklearn.utils._fast_dict",
    "sklearn.utils._openmp_helpers",
    "sklearn.utils._random",
    "sklearn.utils._seq_dataset",
)
"""Compiled modules that are called while fitting, never with what a fitted estimator holds."""

_ROWS = (
    "sklearn.decomposition._online_lda_fast",
    "sklearn.preprocessing._csr_polynomial_expansion",
    "sklearn.utils.arrayfuncs",
    "sklearn.utils.sparsefuncs_fast",
)
"""Compiled modules that take rows, and arrays that scikit-learn has made for them in the shape that they need."""

KNOWN: Mapping[str, Check | None] = {
    **dict.fromkeys(_FITTING),
    **dict.fromkeys(_ROWS),
    "sklearn.tree._tree": None,  # ``trees.py`` checks them before they are constructed
    "sklearn.svm._libsvm": _check_svm,
    "sklearn.svm._libsvm_sparse": _check_svm,
    "sklearn.metrics._dist_metrics": _check_neighbours,
    "sklearn.neighbors._ball_tree": _check_neighbours,
    "sklearn.neighbors._kd_tree": _check_neighbours,
    "sklearn.ensemble._gradient_boosting": _check_boosting,
    "sklearn.cluster._k_means_common": _check_means,
    "sklearn.cluster._k_means_lloyd": _check_means,
    "sklearn.decomposition._cdnmf_fast": _check_factors,
    "sklearn.feature_extraction._hashing_fast": _check_hasher,
}
"""Compiled modules of scikit-learn, each with what checks an estimator that calls it; histogram-based boosting's are
not here, nor is what a later scikit-learn brings."""
