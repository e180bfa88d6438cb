"""Tests of changes to a running server: reloads, aliases, rollbacks, shadows and splits."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import orris
from orris.store import Store
from tests.example_tables import MEASUREMENTS, TABLE
from tests.servers import Server, client, serving
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
TOKEN = "an-admin-token-that-is-long-enough-for-a-test"
ADMIN = {"authorization": f"Bearer {TOKEN}"}
ENVIRON = {"ORRIS_ADMIN_TOKEN_SHA256": hashlib.sha256(TOKEN.encode()).hexdigest()}


def publish(store: Path, version: str, *, model: str = "logistic", alias: str = "latest", name: str = "iris") -> None:
    """Train and publish a version."""
    bounds = MEASUREMENTS
    orris.train(
        TABLE,
        target="species",
        name=name,
        model=model,
        version=version,
        store=store,
        aliases=[alias],
        folds=0,
        bounds=bounds,
    )


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with iris 1.0.0 and 2.0.0 (another family), and flowers 1.0.0."""
    store = tmp_path_factory.mktemp("versions")
    publish(store, "1.0.0")
    publish(store, "2.0.0", model="decision-tree", alias="next")
    publish(store, "1.0.0", name="flowers")
    return store


@pytest.fixture
def store(versions: Path, tmp_path: Path) -> Path:
    """Return a copy of the store that a test may change."""
    copy = Store(tmp_path / "store")
    for reference in ("iris@1.0.0", "iris@2.0.0", "flowers@1.0.0"):
        Store(versions).copy(reference, copy)
    copy.promote("iris", "1.0.0", "prod")
    return tmp_path / "store"


def version_of(ask: httpx.Client, path: str = "/predict") -> str:
    """Return the version that answers."""
    return str(ask.post(path, json=ROW).json()["model_version"])


@pytest.fixture
def running(store: Path, tmp_path: Path) -> Iterator[Server]:
    """Run ``orris serve iris:prod`` with an admin token."""
    with serving("iris:prod", "--store", str(store), folder=tmp_path, environ=ENVIRON) as server:
        yield server


def test_a_reload_follows_the_alias(running: Server, store: Path) -> None:
    """After a reload the alias's new version answers on its own routes too, and a second reload changes nothing."""
    with client(running) as ask:
        assert version_of(ask) == "1.0.0"
        Store(store).promote("iris", "2.0.0", "prod")
        reloaded = ask.post("/api/v1/model/reload", headers=ADMIN)
        assert reloaded.json() | {"request_id": ""} == {
            "status": "reloaded",
            "model": "iris",
            "model_version": "2.0.0",
            "previous_version": "1.0.0",
            "workers": 1,
            "request_id": "",
        }
        assert version_of(ask) == "2.0.0"
        assert version_of(ask, "/api/v1/models/iris/versions/2.0.0/predict") == "2.0.0"
        assert ask.post("/api/v1/models/iris/versions/1.0.0/predict", json=ROW).status_code == 404
        assert ask.post("/api/v1/model/reload", headers=ADMIN).json()["status"] == "unchanged"
        assert 'orris_swaps_total{model="iris",outcome="swapped"} 1.0' in ask.get("/metrics").text


def test_a_version_is_loaded_by_number_and_rolled_back(running: Server) -> None:
    """A version is loaded by its number, and one call returns to the previous version, which is still in memory."""
    with client(running) as ask:
        assert (
            ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": "2.0.0"}).json()["model_version"]
            == "2.0.0"
        )
        rolled_back = ask.post("/api/v1/model/rollback", headers=ADMIN).json()
        assert (rolled_back["status"], rolled_back["model_version"]) == ("rolled back", "1.0.0")
        assert version_of(ask) == "1.0.0"
        assert 'orris_swaps_total{model="iris",outcome="rolled_back"} 1.0' in ask.get("/metrics").text
        again = ask.post("/api/v1/model/rollback", headers=ADMIN)
        assert again.status_code == 404
        assert "no version before" in again.json()["detail"]


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}])
def test_a_change_needs_the_admin_token(running: Server, headers: dict[str, str]) -> None:
    """Without the admin token a request to change the model is refused and changes nothing."""
    with client(running) as ask:
        for path in ("/api/v1/model/reload", "/api/v1/model/rollback", "/v2/repository/models/iris/unload"):
            assert ask.post(path, headers=headers).status_code in {401, 403}
        assert version_of(ask) == "1.0.0"


def test_changes_are_off_without_an_admin_credential(server: Server) -> None:
    """A server without an administrator's credential refuses every reload."""
    with client(server) as ask:
        assert ask.post("/api/v1/model/reload").status_code in {403, 404}


def test_a_broken_version_is_refused_and_the_old_one_stays(running: Server, store: Path) -> None:
    """A damaged version is not loaded, the old one answers on, and both the answer and the metrics give the reason."""
    model = store / "iris" / "versions" / "2.0.0" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-10])
    with client(running) as ask:
        refused = ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": "2.0.0"})
        assert refused.status_code == 409
        assert "model.onnx" in refused.json()["detail"]
        assert version_of(ask) == "1.0.0"
        assert ask.get("/ready").status_code == 200
        assert 'orris_swaps_total{model="iris",outcome="refused"} 1.0' in ask.get("/metrics").text
        missing = ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": "9.9.9"})
        assert missing.status_code == 404


@pytest.mark.parametrize("name", ["A", "-x", "a" * 300, "a%2F..%2Fb"])
def test_a_name_that_is_none_is_a_bad_request(running: Server, name: str) -> None:
    """A name that no model can have is refused with 400 or 404, whatever its length, and nothing is said of a fault."""
    with client(running) as ask:
        for path in (f"/v2/repository/models/{name}/load", f"/v2/models/{name}/infer", f"/v1/models/{name}:predict"):
            answer = ask.post(path, headers=ADMIN, json={})
            assert answer.status_code in {400, 404}, path
        assert ask.get(f"/v2/models/{name}").status_code in {400, 404}


def test_an_alias_that_moves_back_is_warned_of_and_a_lowest_version_refuses_it(store: Path, tmp_path: Path) -> None:
    """A signature does not say that a version is current: a move back is logged, and can be ruled out."""
    lowest = {"ORRIS_MINIMUM_VERSION": "flowers=9.0.0,iris=2.0.0"}
    Store(store).promote("iris", "2.0.0", "prod")
    with serving("iris:prod", "--store", str(store), folder=tmp_path, environ=ENVIRON | lowest) as server:
        Store(store).promote("iris", "1.0.0", "prod")
        with client(server) as ask:
            answer = ask.post("/api/v1/model/reload", headers=ADMIN)
            assert (answer.status_code, version_of(ask)) == (409, "2.0.0")
            assert "iris@1.0.0 is older than 2.0.0" in answer.json()["detail"]
    Store(store).promote("iris", "2.0.0", "prod")
    with serving("iris:prod", "--store", str(store), folder=tmp_path, environ=ENVIRON) as server:
        Store(store).promote("iris", "1.0.0", "prod")
        with client(server) as ask:
            assert ask.post("/api/v1/model/reload", headers=ADMIN).json()["model_version"] == "1.0.0"
        line = next(line for line in server.logged_until("1.0.0 answers now").splitlines() if "answers now" in line)
        assert '"warning"' in line.lower()


def test_v2_loads_unloads_and_lists(running: Server) -> None:
    """Triton's repository extension over REST loads, unloads and lists models."""
    with client(running) as ask:
        listed = ask.post("/v2/repository/index").json()
        assert listed == [{"name": "iris", "version": "1.0.0", "state": "READY", "reason": ""}]
        assert ask.post("/v2/repository/models/flowers/load", headers=ADMIN).status_code == 200
        assert version_of(ask, "/api/v1/models/flowers/predict") == "1.0.0"
        assert "orris_model_info{digest=" in ask.get("/metrics").text
        assert ask.post("/v2/repository/models/flowers/unload", headers=ADMIN).status_code == 200
        loaded = [line for line in ask.get("/metrics").text.splitlines() if line.startswith("orris_model_info{")]
        assert len(loaded) == 1
        assert 'model="iris"' in loaded[0]
        assert ask.post("/api/v1/models/flowers/predict", json=ROW).status_code in {404, 503}
        states = {entry["name"]: entry["state"] for entry in ask.post("/v2/repository/index").json()}
        assert states == {"iris": "READY", "flowers": "UNAVAILABLE"}
        assert ask.post("/v2/repository/index", json={"ready": True}).json() == listed
        unknown = ask.post("/v2/repository/models/nobody/load", headers=ADMIN)
        assert unknown.status_code == 404
        assert set(unknown.json()) == {"error"}


def test_a_watched_alias_is_followed(store: Path, tmp_path: Path) -> None:
    """A watching server follows its alias, but not to a damaged bundle, and survives the loss of the store."""
    with (
        serving("iris:prod", "--store", str(store), "--watch", "0.2", folder=tmp_path) as server,
        client(server) as ask,
    ):
        assert version_of(ask) == "1.0.0"
        Store(store).promote("iris", "2.0.0", "prod")
        assert eventually(lambda: version_of(ask) == "2.0.0")
        (store / "iris" / "versions" / "1.0.0" / "model.onnx").unlink()
        Store(store).promote("iris", "1.0.0", "prod")
        assert eventually(lambda: 'outcome="refused"' in ask.get("/metrics").text)
        assert version_of(ask) == "2.0.0"
        server.logged_until("model.onnx")
        store.rename(tmp_path / "away")
        server.logged_until(str(store))
        assert version_of(ask) == "2.0.0"
        assert ask.get("/ready").status_code == 200


def test_no_request_is_lost_while_versions_are_swapped(running: Server) -> None:
    """Under a steady load every request is answered by one version or the other."""
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def load() -> None:
        with client(running) as ask:
            while not stop.is_set():
                answer = ask.post("/predict", json=ROW)
                answers[answer.status_code, answer.json().get("model_version", "")] += 1

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    with client(running) as ask:
        for version in ("2.0.0", "1.0.0") * 5:
            assert ask.post("/api/v1/model/reload", headers=ADMIN, json={"version": version}).status_code == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {(200, "1.0.0"), (200, "2.0.0")}


def test_several_models_are_served_by_name(versions: Path, tmp_path: Path) -> None:
    """The first model is the default, and further versions of a model are reached by number."""
    with (
        serving("iris@1.0.0", "iris@2.0.0", "flowers", "--store", str(versions), folder=tmp_path) as server,
        client(server) as ask,
    ):
        assert version_of(ask) == "1.0.0"
        assert version_of(ask, "/api/v1/models/iris/versions/2.0.0/predict") == "2.0.0"
        assert ask.post("/api/v1/models/flowers/predict", json=ROW).status_code == 200
        assert ask.post("/api/v1/models/nobody/predict", json=ROW).status_code == 404


def test_a_shadow_is_compared_and_never_answers(versions: Path, tmp_path: Path) -> None:
    """A shadow's answers are compared, with agreement and largest difference counted, and never sent."""
    arguments = ("iris@1.0.0", "--shadow", "iris@2.0.0", "--store", str(versions))
    with serving(*arguments, folder=tmp_path) as server, client(server) as ask:
        for _ in range(20):
            assert version_of(ask) == "1.0.0"
        labels = 'model="iris",outcome="agreed",version="2.0.0"'
        assert eventually(lambda: f"orris_shadow_rows_total{{{labels}}} 20.0" in ask.get("/metrics").text)
        assert 'orris_shadow_largest_difference{model="iris",version="2.0.0"}' in ask.get("/metrics").text


def test_a_split_shares_the_requests(versions: Path, tmp_path: Path) -> None:
    """Requests are split by weight, and equal values of the header always reach the same version."""
    arguments = ("iris@1.0.0", "--split", "iris@2.0.0=0.5", "--split-header", "x-user", "--store", str(versions))
    with serving(*arguments, folder=tmp_path) as server, client(server) as ask:
        by_user = {
            user: {
                str(ask.post("/predict", json=ROW, headers={"x-user": str(user)}).json()["model_version"])
                for _ in range(3)
            }
            for user in range(40)
        }
        assert all(len(found) == 1 for found in by_user.values())
        shares = Counter(next(iter(found)) for found in by_user.values())
        assert set(shares) == {"1.0.0", "2.0.0"}
        assert min(shares.values()) >= 8
        assert {version_of(ask) for _ in range(40)} == {"1.0.0", "2.0.0"}


def test_all_workers_follow_a_reload(store: Path, tmp_path: Path) -> None:
    """The worker that received the reload answers when the other workers have followed."""
    with serving("iris:prod", "--store", str(store), "--workers", "2", folder=tmp_path, environ=ENVIRON) as server:
        with client(server) as ask:
            Store(store).promote("iris", "2.0.0", "prod")
            assert ask.post("/api/v1/model/reload", headers=ADMIN, timeout=PATIENCE_SECONDS).json()["workers"] == 2
        found = set()
        for _ in range(20):
            with client(server) as ask:
                found.add(version_of(ask))
        assert found == {"2.0.0"}
