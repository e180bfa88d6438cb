"""What compiled code is given from a skops file: every shape and position is checked before the model predicts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.decomposition import NMF
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, NuSVR, OneClassSVM
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators
from skops.io import dumps

from orris import trust
from orris.errors import ServingError
from orris.trust import compiled
from tests.trust.test_trust import rewritten, with_number

X, Y = load_iris(return_X_y=True)
CODES = np.array([["a"], ["b"], ["c"], ["a"], ["d"]] * 30, dtype=object)
MODELS: dict[str, Any] = {
    "SVC": SVC(),
    "SVC of two classes": SVC(kernel="poly"),
    "SVC on sparse rows": SVC(kernel="linear"),
    "NuSVC": NuSVC(),
    "SVR": SVR(),
    "NuSVR": NuSVR(),
    "OneClassSVM": OneClassSVM(),
    "LinearSVC": LinearSVC(),
    "nearest neighbours": KNeighborsClassifier(algorithm="brute"),
    "nearest neighbours in a tree": KNeighborsClassifier(algorithm="kd_tree"),
    "neighbours within a radius": RadiusNeighborsClassifier(radius=9.0, algorithm="brute"),
    "outliers": LocalOutlierFactor(novelty=True, algorithm="brute"),
    "boosted trees": GradientBoostingClassifier(n_estimators=2),
    "a boosted regression": GradientBoostingRegressor(n_estimators=2, init="zero"),
    "k-means": KMeans(3, n_init=1),
    "factors": NMF(2, max_iter=2000),
    "one-hot columns": OneHotEncoder(),
}


def fitted(name: str) -> Any:
    """A model of its own, fitted."""
    model = clone(MODELS[name])
    if name == "one-hot columns":
        return model.fit(CODES)
    rows = sp.csr_matrix(X) if "sparse" in name else X
    return model.fit(rows, Y > 0 if "two classes" in name else Y)


def variants(value: Any) -> list[Any]:
    """Forgeries of an attribute: shorter, empty, narrower, longer, beyond its bounds, negative, of another type."""
    if isinstance(value, bool | str) or value is None:
        return []
    if isinstance(value, int | np.integer):
        return [type(value)(0), type(value)(-1), type(value)(value * 1000 + 1000)]
    if sp.issparse(value):
        beyond = value.copy()
        beyond.indices = beyond.indices + 1_000_000
        return [value[:1], value[:, :1], beyond]
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        return [value[:1], value[:0]] if isinstance(value, list | np.ndarray) and len(value) else []
    forged = [value[:1], value[:0], np.concatenate([value, value])]
    if value.ndim > 1:
        forged += [value[:, :1], np.concatenate([value, value], axis=1)]
    if value.dtype.kind in "iu":
        forged += [value + value.dtype.type(1_000_000), value - value.dtype.type(1_000_000)]
    return [np.ascontiguousarray(each) for each in forged] + [value.astype(np.float32)]


READER = """
import sys, warnings
from pathlib import Path
import numpy as np
from orris import trust

warnings.simplefilter("ignore")
rows = np.load(sys.argv[2], allow_pickle=False)
for file in sorted(Path(sys.argv[1]).iterdir()):
    print(file.stem, end=" ", file=sys.stderr, flush=True)
    try:
        model = trust.read(file.read_bytes())
    except Exception as error:
        print("refused", file=sys.stderr, flush=True)
        continue
    for method in ("predict", "predict_proba", "decision_function", "transform"):
        try:
            made = getattr(model, method)(rows)
            getattr(made, "toarray", lambda: None)()
        except Exception:
            pass
    print("read", file=sys.stderr, flush=True)
"""


@pytest.mark.parametrize("name", MODELS)
def test_no_forged_state_kills_the_process(name: str, tmp_path: Path) -> None:
    """Every fitted attribute is forged in turn; the file is refused, or its model answers or fails in Python."""
    model, forged = fitted(name), tmp_path / "forged"
    forged.mkdir()
    (forged / "0.skops").write_bytes(bytes(dumps(model)))
    for attribute, value in list(vars(model).items()):
        for number, variant in enumerate(variants(value)):
            setattr(model, attribute, variant)
            (forged / f"{attribute}-{number}.skops").write_bytes(bytes(dumps(model)))
        setattr(model, attribute, value)
    rows = tmp_path / "rows.npy"
    np.save(rows, CODES.astype("U1") if name == "one-hot columns" else X)
    done = subprocess.run([sys.executable, "-c", READER, forged, rows], capture_output=True, text=True, check=False)
    told = done.stderr.splitlines()  # scikit-learn writes to standard output where ``verbose`` is forged
    assert done.returncode == 0, (done.returncode, told[-1])
    assert told[0] == "0 read"
    assert len(told) == len(list(forged.iterdir()))


def changed(name: str, **attributes: Any) -> Callable[[], Any]:
    """A fitted model with attributes of another value."""

    def forge() -> Any:
        model = fitted(name)
        for attribute, value in attributes.items():
            setattr(model, attribute, value(getattr(model, attribute)) if callable(value) else value)
        return model

    return forge


def emptied_svm() -> Any:
    """An SVC without support vectors, which still counts some: libsvm reads the null pointer."""
    model = fitted("SVC")
    model.support_vectors_, model.support_ = np.empty((0, 4)), model.support_[:0]
    return model


def half(array: Any) -> Any:
    """The first half of an array."""
    return np.ascontiguousarray(array[: len(array) // 2])


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no support vectors": (emptied_svm, "no support vectors"),
    "too few support vectors": (changed("SVC", support_vectors_=half), "of another shape"),
    "narrow support vectors": (changed("SVC", support_vectors_=lambda v: v[:, :1].copy()), "of another shape"),
    "too many counted": (changed("SVC", _n_support=lambda n: n * np.int32(1000)), "than it counts"),
    "too few coefficients": (changed("SVC", _dual_coef_=lambda c: c[:, :1].copy()), "coefficients of another shape"),
    "too few intercepts": (changed("SVC", _intercept_=lambda b: b[:1]), "too few intercepts"),
    "too few probabilities": (changed("SVC", _probA=np.zeros(1), _probB=np.zeros(1)), "too few probabilities"),
    "more classes": (changed("SVC", classes_=np.arange(9)), "than classes"),
    "another formulation": (changed("SVR", _impl="c_svc"), "too few classes|of its own"),
    "a method of its own": (changed("SVC", _compute_kernel=7), "_compute_kernel of its own"),
    "a kernel that is a function": (changed("SVC", kernel=lambda _: np.add), "a kernel that libsvm has not"),
    "sparse positions": (
        changed(
            "SVC on sparse rows",
            support_vectors_=lambda v: sp.csr_matrix((v.data, v.indices + 99, v.indptr), shape=v.shape),
        ),
        "indices must be < 4",
    ),
    "narrow neighbours": (changed("nearest neighbours", _fit_X=lambda x: x[:, :1].copy()), "another width"),
    "neighbours of unknown classes": (changed("nearest neighbours", _y=lambda y: y + 10**6), "class that is not there"),
    "too many neighbours": (changed("nearest neighbours", n_neighbors=10**6), "more neighbours"),
    "classes of too few points": (changed("neighbours within a radius", _y=half), "classes than points"),
    "wider stages": (changed("boosted trees", n_trees_per_iteration_=1), "another number of trees"),
    "a narrower beginning": (
        changed("boosted trees", init_="zero", n_trees_per_iteration_=1),
        "another number of trees",
    ),
    "wide centres": (changed("k-means", n_features_in_=9), "centres of another width"),
    "more factors": (changed("factors", _n_components=9, n_components=9), "another number of components"),
    "fewer columns than codes": (changed("one-hot columns", _n_features_outs=[1]), "fewer columns than categories"),
}


@pytest.mark.parametrize(("forge", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_state_that_leads_compiled_code_astray_is_refused(forge: Callable[[], Any], problem: str) -> None:
    """The file is refused with the estimator and what is wrong with it, wherever in a pipeline it stands."""
    with pytest.raises(ServingError, match=problem):
        trust.read(bytes(dumps(make_pipeline(forge()))))


def test_a_word_in_a_column_that_is_not_there_is_refused() -> None:
    """SciPy does not check the positions that a vectorizer gives it."""
    model = CountVectorizer().fit(["one two three"])
    model.vocabulary_["two"] = 10**6
    with pytest.raises(ServingError, match="a word in a column that is not there"):
        trust.read(bytes(dumps(model)))


@pytest.mark.parametrize("depth", ["0", "-1"])
def test_a_path_longer_than_the_depth_of_its_tree_is_refused(depth: str) -> None:
    """Compiled code writes a path into an array of the length that the tree says."""
    content = bytes(dumps(DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)))
    with pytest.raises(ServingError, match="a path that is longer than it says"):
        trust.read(rewritten(content, with_number("content", "content", "max_depth", value=depth)))


def test_boosting_that_begins_with_a_checked_estimator_alone_is_read() -> None:
    """Its first estimator is called while the file is read, so that it may be linear and may not be an SVC."""
    linear = GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(X, Y)
    assert np.array_equal(trust.read(bytes(dumps(linear))).predict(X), linear.predict(X))
    with pytest.raises(ServingError, match=r"begins with an estimator that is computed by sklearn\.svm\._libsvm"):
        trust.read(bytes(dumps(GradientBoostingRegressor(n_estimators=2, init=SVR()).fit(X, Y))))


def test_every_compiled_module_of_scikit_learn_is_known_or_refused() -> None:
    """The modules are found in the installed scikit-learn; only histogram-based boosting calls one that is refused."""
    unknown: dict[str, set[str]] = {}
    for name, kind in all_estimators():
        called = {found for base in kind.__mro__ for found in compiled.compiled_modules(base.__module__)}
        if called - compiled.KNOWN.keys():
            unknown[name] = called - compiled.KNOWN.keys()
    assert unknown.keys() == {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}


def test_an_unknown_compiled_module_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later scikit-learn may compute with a module that this Orris has no check for."""
    content = bytes(dumps(make_pipeline(LogisticRegression(max_iter=500).fit(X, Y))))
    trust.read(content)
    known = {name: check for name, check in compiled.KNOWN.items() if name != "sklearn.utils._seq_dataset"}
    monkeypatch.setattr(compiled, "KNOWN", known)
    with pytest.raises(ServingError, match=r"LogisticRegression in it is computed by sklearn\.utils\._seq_dataset"):
        trust.read(content)
