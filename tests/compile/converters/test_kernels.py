"""Models over kernels, and steps that map rows through kernels, agree with scikit-learn within rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.kernel_approximation import AdditiveChi2Sampler, Nystroem, RBFSampler, SkewedChi2Sampler
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from orris.compile.dispatch import transform
from orris.compile.graph import INPUT, Feature, Frame, Graph
from orris.errors import NotConvertibleError
from tests.compile import agreement

TABLES = {"iris": agreement.iris, "wine": agreement.wine}
RIDGES: list[dict[str, Any]] = [
    {},
    {"kernel": "rbf"},
    {"kernel": "rbf", "gamma": 0.2},
    {"kernel": "laplacian"},
    {"kernel": "poly", "degree": 2, "coef0": 0.5},
    {"kernel": "sigmoid", "gamma": 0.01},
]
KERNELS = [
    None,
    kernels.RBF(2.0) + kernels.WhiteKernel(0.5),
    kernels.ConstantKernel(2.0) * kernels.Matern(3.0, nu=0.5),
    kernels.Matern(2.0, nu=1.5) + kernels.DotProduct(0.5),
    kernels.Matern(2.0, nu=2.5) ** 2,
    kernels.RationalQuadratic(2.0, 0.7) + kernels.WhiteKernel(0.5),
]


@pytest.mark.parametrize("setting", RIDGES, ids=str)
def test_kernel_ridge_agrees(run_graph: Any, setting: dict[str, Any]) -> None:
    """Kernel ridge regression gives scikit-learn's values for every kernel."""
    x, y = agreement.diabetes()
    model = KernelRidge(**setting).fit(x[:200], y[:200])
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[:942], relative=1e-9, absolute=1e-9)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("normalize", [False, True])
def test_gaussian_process_agrees(run_graph: Any, kernel: Any, normalize: bool) -> None:
    """The posterior mean is scikit-learn's for every kernel."""
    x, y = agreement.diabetes()
    model = GaussianProcessRegressor(kernel, optimizer=None, normalize_y=normalize, alpha=0.1).fit(x[:120], y[:120])
    agreement.assert_agrees(run_graph, model, agreement.hard_rows(x)[:942], relative=1e-9, absolute=1e-7)


@pytest.mark.parametrize("model", [LabelPropagation(gamma=2), LabelSpreading(gamma=2)], ids=str)
@pytest.mark.parametrize("table", TABLES)
def test_label_propagation_agrees(run_graph: Any, table: str, model: Any) -> None:
    """Stored rows vote as in scikit-learn."""
    x, y = TABLES[table]()
    y = np.unique(y, return_inverse=True)[1]
    agreement.assert_agrees(run_graph, model.fit(x, y), x, relative=1e-10)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize(
    "step",
    [
        KernelPCA(3, kernel="rbf", gamma=0.1),
        KernelPCA(3, kernel="poly", gamma=0.1),
        KernelPCA(2),
        Nystroem(n_components=20, random_state=0),
        Nystroem(kernel="poly", degree=2, n_components=10, random_state=0),
        RBFSampler(n_components=10, random_state=0),
        SkewedChi2Sampler(skewedness=9.0, n_components=10, random_state=0),
    ],
    ids=str,
)
def test_maps_agree(run_graph: Any, step: Any, table: str) -> None:
    """A map through a kernel gives scikit-learn's columns on two tables."""
    x, _ = TABLES[table]()
    graph, frame = _converted(step.fit(x), x.shape[1])
    wanted = step.transform(x)
    found = run_graph(graph, frame, x.shape[1], x)["frame"]
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_additive_chi2_agrees_and_refuses_negative_numbers(run_graph: Any, steps: int) -> None:
    """Zeros stay zeros, and a row with a negative number, which scikit-learn refuses, is marked."""
    x = np.abs(agreement.iris()[0])
    x[0, 0] = 0.0
    step = AdditiveChi2Sampler(sample_steps=steps).fit(x)
    graph, frame = _converted(step, 4)
    np.testing.assert_allclose(run_graph(graph, frame, 4, x)["frame"], step.transform(x), rtol=1e-13, atol=1e-13)
    model = make_pipeline(step, LogisticRegression()).fit(x, np.arange(len(x)) % 2)
    assert agreement.converted(model, 4)[0].refused


def test_other_kernels_are_refused_by_name() -> None:
    """A kernel without a formula here is not approximated."""
    x, y = agreement.diabetes()
    with pytest.raises(NotConvertibleError, match="cosine"):
        agreement.converted(KernelRidge(kernel="cosine").fit(x, y), 10)
    periodic = GaussianProcessRegressor(kernels.ExpSineSquared(), optimizer=None, alpha=100.0).fit(x[:50], y[:50])
    with pytest.raises(NotConvertibleError, match="ExpSineSquared"):
        agreement.converted(periodic, 10)
    odd = GaussianProcessRegressor(kernels.Matern(nu=0.7), optimizer=None, alpha=1.0).fit(x[:50], y[:50])
    with pytest.raises(NotConvertibleError, match="Matern"):
        agreement.converted(odd, 10)


def test_several_targets_are_refused() -> None:
    """A regression of two targets is refused."""
    x, y = agreement.diabetes()
    with pytest.raises(NotConvertibleError, match="targets"):
        agreement.converted(KernelRidge().fit(x, np.stack([y, y], axis=1)), 10)


def _converted(step: Any, width: int) -> tuple[Graph, Frame]:
    graph = Graph()
    return graph, transform(graph, step, Frame(INPUT, (Feature(),) * width))
