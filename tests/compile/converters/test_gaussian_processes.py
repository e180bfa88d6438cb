"""Gaussian process classifiers agree with scikit-learn, to the digits that its own formula has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessClassifier, kernels

from orris.errors import NotConvertibleError
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine, "cancer": agreement.cancer}
KERNELS = [
    None,
    kernels.ConstantKernel(2.0) * kernels.RBF([1.5, 1.0, 2.0]) + kernels.WhiteKernel(0.5),
    kernels.Matern(2.0, nu=1.5) + kernels.DotProduct(0.5),
    kernels.Exponentiation(kernels.DotProduct(1.0) + kernels.RationalQuadratic(2.0, 0.7), 2.0),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("table", TABLES)
def test_two_classes_and_more_agree(run_graph: Any, table: str, kernel: Any) -> None:
    """Every label is equal, and probabilities agree in 11 digits, on training rows, around them and far from them."""
    x, y = TABLES[table]()
    x = x[:, :3]
    chosen = np.random.default_rng(0).permutation(len(x))[:100]
    model = GaussianProcessClassifier(kernel, optimizer=None).fit(x[chosen], y[chosen])
    agreement.assert_agrees(run_graph, model, np.concatenate([x, x * 1.5, x[:50] * 0.1]), absolute=2e-10)


def test_a_class_against_each_other_and_other_kernels_are_refused() -> None:
    """One against one has no probabilities; a kernel without a converter is named."""
    x, y = agreement.iris()
    pairs = GaussianProcessClassifier(multi_class="one_vs_one", optimizer=None).fit(x, y)
    with pytest.raises(NotConvertibleError, match="one_vs_one"):
        agreement.converted(pairs, 4)
    rough = GaussianProcessClassifier(kernels.Matern(nu=0.7), optimizer=None).fit(x, y)
    with pytest.raises(NotConvertibleError, match=r"Matern\(nu=0.7\)"):
        agreement.converted(rough, 4)
