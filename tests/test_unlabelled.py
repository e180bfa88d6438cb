"""Detectors of outliers and clusterers: packaged without a target, and answered with a score in every dialect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import LocalOutlierFactor

import orris
from orris.errors import ServingError, TrainingError
from tests.servers import Server, client, serving

X, Y = load_iris(return_X_y=True)
ROWS = np.concatenate([X[::30], [[99.0, 0.1, 50.0, 9.0]]])
FOREST = IsolationForest(n_estimators=20, random_state=0).fit(X)
MEANS = KMeans(3, n_init=1, random_state=0).fit(X)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server with a detector and a clusterer, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("unlabelled")
    orris.package(FOREST, X, name="forest", store=folder / "store")
    orris.package(MEANS, X, name="means", store=folder / "store")
    models = ("forest", "means", "--store", str(folder / "store"), "--grpc-port", "0")
    with serving(*models, folder=folder) as running:
        yield running


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    """A client of the server."""
    with client(server) as ask:
        yield ask


def test_the_engine_gives_labels_and_scores() -> None:
    """``orris.load`` answers as the fitted model, and the bundle says what was measured."""
    bundle = orris.package(FOREST, X, name="forest", store=None)
    model = orris.load(bundle)
    assert bundle.verdict.strategy == "exact"
    assert bundle.manifest.schema.task == "outlier detection"
    assert (bundle.manifest.schema.target, bundle.manifest.schema.labels) == ("outlier", (-1, 1))
    assert bundle.metrics == {"outlier_share": pytest.approx((FOREST.predict(X) == -1).mean())}
    assert model.predict(ROWS).tolist() == FOREST.predict(ROWS).tolist()
    np.testing.assert_allclose(model.score(ROWS), FOREST.decision_function(ROWS), rtol=1e-12)
    report = (bundle.folder / "report.md").read_text("utf-8")
    assert "Outlier detection: predicts outlier" in report
    assert "There is no target" in report


def test_an_estimator_without_a_converter_is_served_by_scikit_learn() -> None:
    """A local outlier factor that searches without a tree has no converter; label and score come from scikit-learn."""
    factor = LocalOutlierFactor(novelty=True, algorithm="brute").fit(X)
    bundle = orris.package(factor, X, name="factor", store=None)
    assert bundle.verdict.strategy == "scikit-learn"
    model = orris.load(bundle)
    assert model.predict(ROWS).tolist() == factor.predict(ROWS).tolist()
    np.testing.assert_array_equal(model.score(ROWS), factor.decision_function(ROWS))


def test_a_target_is_given_where_there_is_one() -> None:
    """A detector with targets and a classifier without are errors that say what to do; a classifier has no score."""
    with pytest.raises(TrainingError, match="leave out y"):
        orris.package(FOREST, X, Y, name="forest", store=None)
    classifier = LogisticRegression(max_iter=500).fit(X, Y)
    with pytest.raises(TrainingError, match="y is needed"):
        orris.package(classifier, X, name="iris", store=None)
    with pytest.raises(ServingError, match="no score"):
        orris.load(orris.package(classifier, X, Y, name="iris", store=None)).score(X)


@pytest.mark.parametrize("name", ["forest", "means"])
def test_every_dialect_answers_with_label_and_score(api: httpx.Client, name: str) -> None:
    """Named rows, V1, V2, MLflow's JSON and CSV give the fitted model's label and score."""
    model = {"forest": FOREST, "means": MEANS}[name]
    labels = model.predict(ROWS).tolist()
    scores = (FOREST.decision_function(ROWS) if name == "forest" else MEANS.transform(ROWS).min(axis=1)).tolist()
    pairs = [[label, pytest.approx(score)] for label, score in zip(labels, scores, strict=True)]
    columns = [f"x{i}" for i in range(4)]
    named = [dict(zip(columns, row, strict=True)) for row in ROWS.tolist()]
    route = f"/api/v1/models/{name}/predict"
    answers = api.post(route, json=named).json()["predictions"]
    assert [[answer["prediction"], answer["score"]] for answer in answers] == pairs
    one = api.post(route, json=named[0]).json()
    assert [one["prediction"], one["score"]] == pairs[0]
    assert one["prediction_label"] == str(labels[0])
    instances = {"instances": ROWS.tolist()}
    assert api.post(f"/v1/models/{name}:predict", json=instances).json()["predictions"] == pairs
    assert (
        api.post(f"/v1/models/{name}:predict", json={"instances": ROWS[:1].tolist()}).json()["predictions"] == pairs[:1]
    )
    csv = ",".join(columns) + "\n" + "\n".join(",".join(map(str, row)) for row in ROWS.tolist())
    headers = {"content-type": "text/csv", "accept": "text/csv"}
    lines = api.post(f"/models/{name}/invocations", content=csv, headers=headers).text.splitlines()
    assert [[int(label), float(score)] for label, score in (line.split(",") for line in lines)] == pairs


@pytest.mark.parametrize("name", ["forest", "means"])
def test_v2_has_an_output_for_the_score(api: httpx.Client, name: str) -> None:
    """The metadata names the outputs, and an inference gives them, in JSON."""
    outputs = api.get(f"/v2/models/{name}").json()["outputs"]
    assert [(output["name"], output["datatype"], output["shape"]) for output in outputs] == [
        ("predict", "INT64", [-1]),
        ("score", "FP64", [-1]),
    ]
    model = {"forest": FOREST, "means": MEANS}[name]
    inputs = [
        {"name": f"x{j}", "datatype": "FP64", "shape": [len(ROWS), 1], "data": ROWS[:, j].tolist()} for j in range(4)
    ]
    answer = api.post(f"/v2/models/{name}/infer", json={"inputs": inputs}).json()["outputs"]
    assert [output["name"] for output in answer] == ["predict", "score"]
    assert answer[0]["data"] == model.predict(ROWS).tolist()
    score = FOREST.decision_function(ROWS) if name == "forest" else MEANS.transform(ROWS).min(axis=1)
    assert answer[1]["data"] == pytest.approx(score.tolist())
    single = [{**each, "shape": [1, 1], "data": each["data"][:1]} for each in inputs]
    answer = api.post(f"/v2/models/{name}/infer", json={"inputs": single}).json()["outputs"]
    assert answer[1]["data"] == pytest.approx(score.tolist()[:1])


@pytest.mark.parametrize("name", ["forest", "means"])
def test_a_grpc_client_gets_label_and_score(server: Server, name: str) -> None:
    """Triton's client reads both outputs, which the model's metadata name."""
    inputs = []
    for j in range(4):
        given = triton.InferInput(f"x{j}", [len(ROWS), 1], "FP64")
        given.set_data_from_numpy(np.ascontiguousarray(ROWS[:, j : j + 1]))
        inputs.append(given)
    with triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as asking:
        described = asking.get_model_metadata(name).outputs
        answer = asking.infer(name, inputs)
        asked = asking.infer(name, inputs, outputs=[triton.InferRequestedOutput("score")])
    assert [(output.name, output.datatype) for output in described] == [("predict", "INT64"), ("score", "FP64")]
    model = {"forest": FOREST, "means": MEANS}[name]
    score = FOREST.decision_function(ROWS) if name == "forest" else MEANS.transform(ROWS).min(axis=1)
    assert answer.as_numpy("predict").tolist() == model.predict(ROWS).tolist()
    np.testing.assert_allclose(answer.as_numpy("score"), score, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(asked.as_numpy("score"), answer.as_numpy("score"))
    assert asked.as_numpy("predict") is None


@pytest.mark.parametrize("name", ["forest", "means"])
def test_a_row_alone_is_answered_like_a_row_among_others(api: httpx.Client, name: str) -> None:
    """MLflow's ``instances`` and ``inputs`` of one row hold the label and the score, as those of several do."""
    every = api.post(f"/models/{name}/invocations", json={"instances": ROWS.tolist()}).json()["predictions"]
    for key in ("instances", "inputs"):
        alone = api.post(f"/models/{name}/invocations", json={key: ROWS[:1].tolist()}).json()["predictions"]
        assert alone == every[:1]


def test_the_labels_are_counted_and_described(api: httpx.Client) -> None:
    """Metrics count answers by label, and OpenAPI has the score."""
    api.post("/api/v1/models/forest/predict", json=[{"x0": 99.0, "x1": 0.1, "x2": 50.0, "x3": 9.0}])
    counted = r'orris_predictions_total\{(?=[^}]*label="-1")(?=[^}]*model="forest")'
    assert re.search(counted, api.get("/metrics").text)
    assert '"score"' in api.get("/openapi.json").text


def test_the_profile_for_drift_holds_the_labels(tmp_path: Path) -> None:
    """The distribution of clusters in training is what drift is measured against."""
    bundle = orris.package(MEANS, X, name="means", store=tmp_path)
    shares = np.bincount(MEANS.predict(X), minlength=3) / len(X)
    profile = orris.load(bundle).engine.profile
    assert profile is not None
    assert profile.predictions.shares[:3] == pytest.approx(shares.tolist())
