"""Which of scikit-learn's estimators are served, and how: every one of them is packaged with its default parameters.

    python benchmarks/estimators.py                     every estimator
    python benchmarks/estimators.py --only PCA KMeans   some of them

What was found is kept in benchmarks/estimators.json, one entry for each estimator, and docs/estimators.md is written
anew from all of it.

The estimators are those of ``sklearn.utils.all_estimators``. Each is fitted on a small table of its kind and given to
``orris.package`` in a process of its own, which is ended after ``--seconds``. A transformer stands in front of a
logistic regression. What the command prints and the page shows is the way of serving that passed the parity gate, or
the error's text: an error of Orris (refused in words), or any other (an exception, which is a fault of Orris).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads of OpenMP do not survive a fork

import argparse
import json
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import numpy as np
import sklearn
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA, DictionaryLearning
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401 (makes them importable)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import all_estimators

import orris
from orris.errors import OrrisError

PAGE = Path(__file__).parents[1] / "docs" / "estimators.md"
FOUND = Path(__file__).with_suffix(".json")
START, END = "<!-- written by benchmarks/estimators.py -->", "<!-- end of what benchmarks/estimators.py writes -->"

Kind = Literal["classifier", "regressor", "transformer", "outlier detector", "clusterer"]
KINDS: tuple[Kind, ...] = ("classifier", "regressor", "transformer", "outlier detector", "clusterer")

NO_COLUMNS = {
    "DictVectorizer": "reads dictionaries",
    "FeatureHasher": "reads dictionaries",
    "HashingVectorizer": "reads text",
    "KernelCenterer": "reads a kernel matrix",
    "LabelBinarizer": "transforms the target",
    "LabelEncoder": "transforms the target",
    "MultiLabelBinarizer": "transforms the target",
    "PLSSVD": "transforms rows and targets together, so that no model can stand behind it",
    "PatchExtractor": "reads images",
}
"""Transformers that do not take columns of a table, and what they take."""

_LOGISTIC = LogisticRegression(max_iter=1000)

ARGUMENTS: dict[str, Callable[[type], Any]] = {
    **dict.fromkeys(
        (
            *("ClassifierChain", "FixedThresholdClassifier", "MultiOutputClassifier", "OneVsOneClassifier"),
            *("OneVsRestClassifier", "OutputCodeClassifier", "SelfTrainingClassifier", "TunedThresholdClassifierCV"),
            *("RFE", "RFECV", "SelectFromModel", "SequentialFeatureSelector"),
        ),
        lambda kind: kind(_LOGISTIC),
    ),
    **dict.fromkeys(("MultiOutputRegressor", "RegressorChain"), lambda kind: kind(Ridge())),
    **dict.fromkeys(("GridSearchCV", "HalvingGridSearchCV"), lambda kind: kind(_LOGISTIC, {"C": [0.1, 1.0]})),
    **dict.fromkeys(
        ("RandomizedSearchCV", "HalvingRandomSearchCV"),
        lambda kind: kind(_LOGISTIC, {"C": [0.1, 1.0]}, random_state=0),
    ),
    **dict.fromkeys(
        ("StackingClassifier", "VotingClassifier"),
        lambda kind: kind([("linear", _LOGISTIC), ("tree", DecisionTreeClassifier(max_depth=3))]),
    ),
    **dict.fromkeys(("StackingRegressor", "VotingRegressor"), lambda kind: kind([("a", Ridge()), ("b", Ridge(10.0))])),
    "ColumnTransformer": lambda kind: kind([("scaled", StandardScaler(), [0, 1])], remainder="passthrough"),
    "FeatureUnion": lambda kind: kind([("scaled", StandardScaler()), ("projected", PCA(2))]),
    "FrozenEstimator": lambda kind: kind(StandardScaler().fit(load_iris().data)),
    "GaussianRandomProjection": lambda kind: kind(n_components=2),
    "Pipeline": lambda kind: kind([("scaled", StandardScaler()), ("projected", PCA(2))]),
    "SparseCoder": lambda kind: kind(
        DictionaryLearning(n_components=4, max_iter=20, random_state=0).fit(load_iris().data).components_
    ),
    "SparseRandomProjection": lambda kind: kind(n_components=2),
    **dict.fromkeys(("CCA", "PLSCanonical", "PLSSVD"), lambda kind: kind(n_components=1)),
}
"""How an estimator is made that has required parameters, or defaults that a table of four columns refuses."""

ONE_COLUMN_TARGET = {
    *("ClassifierChain", "MultiOutputClassifier", "MultiOutputRegressor", "RegressorChain"),
    *("MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"),
}
"""Estimators of several targets, which are fitted on a table of one target."""


@dataclass(frozen=True)
class Outcome:
    """What became of one estimator.

    Attributes:
        name: Its class.
        kind: What it is.
        way: The way of serving, ``refused`` or ``exception``.
        words: Why, if it is not served exactly.
        seconds: How long ``orris.package`` took.
    """

    name: str
    kind: Kind
    way: str
    words: str
    seconds: float


def kinds() -> dict[str, tuple[Kind, type]]:
    """Every estimator that can answer rows it has not seen, its kind, and its class; each is listed once."""
    found: dict[str, tuple[Kind, type]] = {}
    classes = dict(all_estimators())
    for kind in ("classifier", "regressor"):
        found |= {name: (kind, each) for name, each in all_estimators(kind)}
    outliers = [name for name, each in classes.items() if issubclass(each, sklearn.base.OutlierMixin)]
    found |= {name: ("outlier detector", classes[name]) for name in outliers}
    clusterers = [*all_estimators("cluster"), ("GaussianMixture", classes["GaussianMixture"])]
    clusterers.append(("BayesianGaussianMixture", classes["BayesianGaussianMixture"]))
    found |= {name: ("clusterer", each) for name, each in clusterers if hasattr(each, "predict")}
    searches = [(name, each) for name, each in classes.items() if name.endswith("SearchCV")]
    found |= {name: ("classifier", each) for name, each in searches}
    for name, each in [*all_estimators("transformer"), *((n, classes[n]) for n in ("Pipeline", "FrozenEstimator"))]:
        if name not in found and name not in NO_COLUMNS and hasattr(each, "transform"):
            found[name] = ("transformer", each)
    return found


def table(name: str, kind: Kind) -> tuple[Any, Any]:
    """A small table that the estimator can be fitted on: rows, and targets if it takes any."""
    X, y = load_iris(return_X_y=True)
    if kind == "regressor":
        X, y = load_diabetes(return_X_y=True)
        X, y = X[:200, :1] if name == "IsotonicRegression" else X[:200], y[:200]
    if name in ("ClassifierChain", "FixedThresholdClassifier", "TunedThresholdClassifierCV"):
        X, y = X[:100], y[:100]
    if name == "CategoricalNB":
        X = KBinsDiscretizer(4, encode="ordinal", quantile_method="averaged_inverted_cdf").fit_transform(X).astype(int)
    if name in ("KNNImputer", "IterativeImputer", "MissingIndicator", "SimpleImputer"):
        X = np.where(np.random.default_rng(0).random(X.shape) < 0.1, np.nan, X)
    return X, (y[:, None] if name in ONE_COLUMN_TARGET else y)


def fitted(name: str, kind: Kind, each: type) -> tuple[Any, Any, Any]:
    """The estimator fitted on its table (a transformer in front of a logistic regression), rows and targets."""
    X, y = table(name, kind)
    model = ARGUMENTS.get(name, lambda estimator: estimator())(each)
    if "random_state" in model.get_params(deep=False):
        model.set_params(random_state=0)
    if name == "LocalOutlierFactor":
        model.set_params(novelty=True)
    if name == "MissingIndicator":
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_union

        model = make_union(SimpleImputer(), model)
    if kind == "transformer":
        model = make_pipeline(model, LogisticRegression(max_iter=1000))
    return model.fit(X, y) if kind not in ("outlier detector", "clusterer") else model.fit(X), X, y


def examine(name: str, kind: Kind, each: type) -> Outcome:
    """Fit and package one estimator."""
    warnings.simplefilter("ignore")
    model, X, y = fitted(name, kind, each)
    start = time.perf_counter()
    try:
        if kind in ("outlier detector", "clusterer"):
            bundle = orris.package(model, X, name="walk", store=None)
        else:
            bundle = orris.package(model, X, y, name="walk", store=None)
    except OrrisError as error:
        way, words = "refused", " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001 (it is what this program looks for)
        way, words = "exception", f"{type(error).__name__}: {' '.join(str(error).split())}"
    else:
        way = bundle.verdict.strategy
        words = "" if way == "exact" else "; ".join(f"{a.strategy}: {a.reason}" for a in bundle.verdict.attempts)
    return Outcome(name, kind, way, words, round(time.perf_counter() - start, 1))


def _reported(sender: Connection, name: str, kind: Kind, each: type) -> None:
    try:
        sender.send(examine(name, kind, each))
    except Exception as error:  # noqa: BLE001 (the estimator could not be fitted)
        sender.send(Outcome(name, kind, "not fitted", f"{type(error).__name__}: {error}", 0.0))


def in_a_process(name: str, kind: Kind, each: type, seconds: float) -> Outcome:
    """``examine`` in a process of its own, which is ended when the time is over."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_reported, args=(sender, name, kind, each))
    process.start()
    sender.close()
    try:
        if receiver.poll(seconds):
            return Outcome(**vars(receiver.recv()))
    except EOFError:
        return Outcome(name, kind, "exception", "the process ended without a word", seconds)
    finally:
        process.kill()
        process.join()
    return Outcome(name, kind, "exception", f"not finished after {seconds:.0f} s", seconds)


def walk(names: Iterable[str], seconds: float) -> list[Outcome]:
    """The outcome for each of these estimators, or for all; printed as they come."""
    chosen = kinds()
    examine("Ridge", *chosen["Ridge"])  # what it imports is there before processes are forked
    wanted = list(names) or sorted(chosen, key=lambda name: (KINDS.index(chosen[name][0]), name))
    outcomes = []
    for name in wanted:
        outcome = in_a_process(name, *chosen[name], seconds)
        print(
            f"{outcome.kind:17} {name:32} {outcome.way:18} {outcome.seconds:5.1f} s  {outcome.words[:300]}", flush=True
        )
        outcomes.append(outcome)
    return outcomes


def totals(outcomes: list[Outcome]) -> list[tuple[str, int, int, int]]:
    """``(kind, estimators, served, exact)`` for each kind, and for the first three together."""
    rows = []
    for label, members in [*((kind, (kind,)) for kind in KINDS), ("first three together", KINDS[:3])]:
        of_kind = [outcome for outcome in outcomes if outcome.kind in members]
        served = [outcome for outcome in of_kind if outcome.way not in ("refused", "exception", "not fitted")]
        rows.append((label, len(of_kind), len(served), sum(outcome.way == "exact" for outcome in served)))
    return rows


def written(outcomes: list[Outcome]) -> str:
    """The tables of the page."""
    lines = [f"Measured with scikit-learn {sklearn.__version__}.", "", "| kind | estimators | served | exact |"]
    lines.append("|---|---|---|---|")
    for kind, n, served, exact in totals(outcomes):
        lines.append(f"| {kind} | {n} | {served} ({served / max(n, 1):.0%}) | {exact} ({exact / max(n, 1):.0%}) |")
    for kind in KINDS:
        members = sorted((each for each in outcomes if each.kind == kind), key=lambda outcome: outcome.name)
        exact_names = ", ".join(f"`{outcome.name}`" for outcome in members if outcome.way == "exact")
        lines += ["", f"### {kind.capitalize()}s", "", f"Exact: {exact_names}.", ""]
        lines += ["| not exact | way of serving | why |", "|---|---|---|"]
        for outcome in members:
            if outcome.way != "exact":
                words = outcome.words.removeprefix("exact: ").split("; skl2onnx")[0].split(" (")[0]
                lines.append(
                    f"| `{outcome.name}` | {outcome.way} | {words.replace('|', ' ').replace('<', ' ')[:220]} |"
                )
    return "\n".join(lines)


def known() -> dict[str, Outcome]:
    """What is kept of earlier walks, by the estimator's name."""
    return {entry["name"]: Outcome(**entry) for entry in json.loads(FOUND.read_text("utf-8"))} if FOUND.exists() else {}


def main() -> None:
    """Walk, print, keep what was found, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these estimators")
    parser.add_argument("--seconds", type=float, default=60.0, help="most time for one estimator")
    arguments = parser.parse_args()
    found = known() | {outcome.name: outcome for outcome in walk(arguments.only, arguments.seconds)}
    outcomes = [found[name] for name in sorted(found)]
    FOUND.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n", "utf-8")
    for kind, n, served, exact in totals(outcomes):
        print(f"{kind:17} {n:3} estimators, {served:3} served, {exact:3} exact")
    head, tail = PAGE.read_text("utf-8").split(START)[0], PAGE.read_text("utf-8").split(END)[1]
    PAGE.write_text(f"{head}{START}\n\n{written(outcomes)}\n\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
