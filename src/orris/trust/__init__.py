"""skops files: written by ``compile``, read by ``runtime``, with one list of types that a server constructs.

A skops file names the types that it needs. The server's policy decides which are allowed, never the file: skops's own
list, and ``TRUSTED``. scikit-learn and skops are imported when a file is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orris.errors import ServingError
from orris.trust import archive, compiled, trees

_NEIGHBOUR_TREES = ("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree")

TRUSTED = (
    *_NEIGHBOUR_TREES,
    trees.TREE,
    "numpy.dtype",
    "scipy.sparse._csr.csr_array",
    "scipy.sparse._csr.csr_matrix",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.DotProduct",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.RationalQuadratic",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.metrics._dist_metrics.ChebyshevDistance64",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
)
"""Types and functions, beyond those that skops trusts, that a file may name: of scikit-learn, numpy and SciPy.

Their state is arrays and parameters, which ``__setstate__`` stores and does not interpret; no parameter is called; the
functions compute scores while fitting and are not called after. Distances that carry arrays (Mahalanobis, weighted) or
a Python function are not here.

Compiled code follows positions without looking, so a forged file could read or write outside its arrays. ``read``
builds each tree for neighbours anew from its points and refuses a file in which they differ, checks every position of a
decision tree (``trees.py``) before one is constructed, and checks whatever else compiled code is given
(``compiled.py``). Histogram-based boosting (``TreePredictor``) and splines (``BSpline``) have the same hazard and no
such check, so they are left out, as skops leaves them out; histogram-based boosting is compiled instead.
"""


def untrusted(content: bytes) -> list[str]:
    """Types in a skops file that ``read`` would refuse."""
    from skops.io import get_untrusted_types  # noqa: PLC0415

    return sorted(set(get_untrusted_types(data=content)) - set(TRUSTED))


def read(content: bytes) -> Any:
    """The estimator in a skops file.

    Raises:
        ServingError: It names a type that is not trusted, is no skops file, inflates to too much, or holds a state that
            would lead compiled code outside its arrays.
        ImportError: skops is not installed.
    """
    from skops.io import loads  # noqa: PLC0415

    try:
        archive.check(content)
        trees.check_file(content)
        estimator = loads(content, trusted=list(TRUSTED))
        parts = list(compiled.parts(estimator))
        for part in parts:
            if not trees.check_owner(part):
                raise ValueError(f"a {type(part).__name__} in it gives its trees rows of another width than they take")
            if f"{type(part).__module__}.{type(part).__qualname__}" in _NEIGHBOUR_TREES:
                _require_built(part)
        for part in parts:
            compiled.require_sound(part)
    except Exception as error:
        raise ServingError(f"skops does not load the model: {error}") from error
    return estimator


def _require_built(tree: Any) -> None:
    """Raise unless the tree is what its class builds from the same points.

    Then all its positions are within its arrays.
    """
    state = tree.__getstate__()
    points, weights = np.asarray(state[0]), state[12]
    built = type(tree)(
        points.copy(),
        leaf_size=state[4],
        metric=state[11],
        sample_weight=None if weights is None else np.asarray(weights),
    )
    # Points, order, nodes, bounds, leaf size, levels and nodes; after them come counters, which queries raise and
    # nothing reads.
    for given, own in zip(state[:7], built.__getstate__()[:7], strict=True):
        if not np.array_equal(given, own):
            raise ValueError(f"a {type(tree).__name__} in it is not the one that its points give")
