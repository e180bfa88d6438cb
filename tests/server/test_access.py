"""Tests of access to a real server: keys, tokens, rates, open routes, and the answers to refused requests."""

from __future__ import annotations

import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orris.api import Bundle
from orris.serving.access.keys import digest_of, new_key
from tests.servers import Server, client, serving
from tests.serving.issuer import AUDIENCE, ISSUER, Issuer, issuing
from tests.waiting import PATIENCE_SECONDS, eventually

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
KEY, SLOW, EXPIRED, OPS = (new_key() for _ in range(4))
ADMIN_TOKEN = "a-long-admin-token.with.dots"
PROBES = (
    "/health",
    "/ready",
    "/api/v1/health",
    "/ping",
    "/v1/models/iris",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/iris/ready",
)
SHOP = "https://shop.example"


def sha256(key: str) -> str:
    """Return a key's hash as the file holds it."""
    return digest_of(key.encode()).hex()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """Run an issuer with a key of each kind."""
    with issuing("rsa", "ec", "ed") as running:
        yield running


@pytest.fixture(scope="module")
def guarded(iris: Bundle, issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with keys, tokens, an admin token, guarded metrics and one foreign origin."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(ADMIN_TOKEN + "\n")
    (folder / "keys.toml").write_text(
        f'ci = {{ sha256 = "{sha256(KEY)}" }}\n'
        f'slow = {{ sha256 = "{sha256(SLOW)}", rate = 0.001, burst = 3 }}\n'
        f'old = {{ sha256 = "{sha256(EXPIRED)}", expires = 2020-01-01T00:00:00Z }}\n'
        f'ops = {{ sha256 = "{sha256(OPS)}", admin = true }}\n'
    )
    arguments = [
        "--api-keys",
        str(folder / "keys.toml"),
        "--jwt-jwks",
        issuer.url,
        "--jwt-issuer",
        ISSUER,
        "--jwt-audience",
        AUDIENCE,
    ]
    arguments += ["--cors-origin", SHOP, "--admin-token-file", str(folder / "token")]
    environ = {"ORRIS_METRICS_AUTH": "true", "ORRIS_JWT_REFRESH_SECONDS": "1"}
    with serving(str(iris.folder), *arguments, folder=folder, environ=environ) as running:
        yield running


@pytest.fixture
def stranger(guarded: Server) -> Iterator[httpx.Client]:
    """Return a client of ``guarded`` without a credential."""
    with client(guarded) as asking:
        yield asking


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY},
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer  {KEY}"},
        {"x-api-key": OPS},
        {"x-api-key": ADMIN_TOKEN},
        {"x-api-key": KEY, "authorization": "Basic eDp5"},
    ],
)
def test_a_key_opens_predictions(stranger: httpx.Client, headers: dict[str, str]) -> None:
    """A key in either header, or the administrator's token, opens the predict routes."""
    assert stranger.post("/predict", json=ROW, headers=headers).status_code == 200
    assert stranger.post("/predict?x=1", json=ROW, headers=headers).status_code == 200
    assert stranger.get("/api/v1/model/info", headers=headers).status_code == 200


def test_every_invalid_key_is_refused_alike(stranger: httpx.Client) -> None:
    """A missing, unknown, malformed or expired key gets the same 401, so that guessing reveals nothing."""
    wrong: list[dict[str, str]] = [
        {},
        {"x-api-key": new_key()},
        {"x-api-key": ""},
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY.upper()},
        {"x-api-key": EXPIRED},
    ]
    wrong += [
        {"authorization": "Bearer"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer a.b.c"},
    ]
    answers = [stranger.post("/predict", json=ROW, headers=headers | {"x-request-id": "same"}) for headers in wrong]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.headers["www-authenticate"] for answer in answers} == {'Bearer realm="orris"'}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["title"] == "Unauthorized"


@pytest.mark.parametrize(
    "path",
    ["/predict", "/v1/models/iris:predict", "/v2/models/iris/infer", "/v2/models/iris/infer?x=1", "/invocations"],
)
def test_each_protocol_refuses_in_its_own_shape(stranger: httpx.Client, path: str) -> None:
    """A refusal has the protocol's own error shape and the headers that HTTP demands."""
    refused = stranger.post(path, json={})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="orris"'
    document = refused.json()
    assert "a valid API key or token is needed" in str(document)
    assert ("error" in document) == path.startswith(("/v1", "/v2"))
    assert stranger.post(path, json={}, headers={"x-api-key": KEY}).status_code in {400, 422}


def test_only_administrators_change_models(stranger: httpx.Client, ask: httpx.Client) -> None:
    """A change gets 401 without a credential and 403 with an ordinary key, or if no admin credential is configured."""
    for path in ("/api/v1/model/reload", "/v2/repository/models/iris/load"):
        assert stranger.post(path).status_code == 401
        assert stranger.post(path, headers={"x-api-key": KEY}).status_code == 403
        assert stranger.post(path, headers={"x-api-key": OPS}).status_code not in {401, 403}
        assert ask.post(path, headers={"x-api-key": OPS}).status_code == 403


@pytest.mark.parametrize("path", [*PROBES, "/", "/docs"])
def test_probes_and_documentation_are_open(stranger: httpx.Client, path: str) -> None:
    """Probes and documentation need no credential."""
    assert stranger.get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/metrics", "/api/v1/metrics", "/api/v1/model/info", "/api/v1/", "/nope", "/predict", "/v2", "/v1/models"]
)
def test_everything_else_is_guarded(stranger: httpx.Client, path: str) -> None:
    """Every route that is not known to be open, unknown paths included, needs a credential."""
    assert stranger.get(path).status_code == 401
    assert stranger.get(path, headers={"x-api-key": KEY}).status_code in {200, 404, 405}


def test_a_caller_over_its_rate_gets_retry_after(stranger: httpx.Client) -> None:
    """A caller over its rate gets 429 with Retry-After, and other callers are not affected."""
    answers = [stranger.post("/predict", json=ROW, headers={"x-api-key": SLOW}) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert 900 < int(answers[-1].headers["retry-after"]) <= 1_000
    assert answers[-1].headers["content-type"] == "application/problem+json"
    assert stranger.post("/predict", json=ROW, headers={"x-api-key": KEY}).status_code == 200


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
def test_a_token_opens_predictions(stranger: httpx.Client, issuer: Issuer, kid: str) -> None:
    """A token signed with any allowed algorithm opens the predict routes, each time it is used."""
    headers = {"authorization": f"Bearer {issuer.token(kid)}"}
    assert [stranger.post("/predict", json=ROW, headers=headers).status_code for _ in range(3)] == [200] * 3


def bad_tokens(issuer: Issuer) -> dict[str, str]:
    """Return invalid tokens, one for each check, by name."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "shop", "exp": now + 3600}
    good = issuer.token()
    head, body, signature = good.split(".")
    stranger_key = Issuer()
    stranger_key.publish("rsa")
    return {
        "expired": issuer.token(exp=now - 60),
        "not yet valid": issuer.token(nbf=now + 3600),
        "another issuer": issuer.token(iss="https://other.example"),
        "another audience": issuer.token(aud="billing"),
        "no audience": issuer.token(aud=None),
        "no issuer": issuer.token(iss=None),
        "no expiry": issuer.token(exp=None),
        "an expiry that is no number": issuer.token(exp="never"),
        "an endless expiry": issuer.token(exp=10**400),
        "no signature": jwt.encode(claims, "", algorithm="none", headers={"kid": "rsa"}),
        "signed with the public key as a secret": _signed_with_public_key(issuer, claims),
        "another signature algorithm": jwt.encode(
            claims, issuer.keys["rsa"][1], algorithm="PS256", headers={"kid": "rsa"}
        ),
        "a key of another kind": jwt.encode(claims, issuer.keys["ec"][1], algorithm="ES256", headers={"kid": "rsa"}),
        "an unknown key": jwt.encode(claims, issuer.keys["rsa"][1], algorithm="RS256", headers={"kid": "x"}),
        "somebody else's key": stranger_key.token(),
        "a changed claim": f"{head}.{body[:-4]}AAAA.{signature}",
        "a signature cut off": f"{head}.{body}.",
        "not a token": "e30.e30.e30",
    }


def _signed_with_public_key(issuer: Issuer, claims: dict[str, Any]) -> str:
    """Sign with the public key as an HMAC secret, a known forgery that PyJWT refuses to make."""
    secret = issuer.keys["rsa"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [jwt.utils.base64url_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "rsa"}, claims)]
    signature = hmac.digest(secret, b".".join(parts), "sha256")
    return b".".join([*parts, jwt.utils.base64url_encode(signature)]).decode()


def test_every_invalid_token_is_refused_alike(stranger: httpx.Client, issuer: Issuer) -> None:
    """Every invalid token gets the same answer, and the log has the reason."""
    answers = {
        name: stranger.post("/predict", json=ROW, headers={"authorization": f"Bearer {token}", "x-request-id": "same"})
        for name, token in bad_tokens(issuer).items()
    }
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert len({answer.content for answer in answers.values()}) == 1


def test_the_issuers_keys_are_followed(guarded: Server, stranger: httpx.Client, issuer: Issuer) -> None:
    """Keys that the issuer adds or withdraws are followed without a restart, also for tokens verified before."""
    old = {"authorization": f"Bearer {issuer.token('ec')}"}
    assert stranger.post("/predict", json=ROW, headers=old).status_code == 200
    issuer.publish("rsa", "ed", "rsa2")
    new = {"authorization": f"Bearer {issuer.token('rsa2')}"}
    eventually(lambda: stranger.post("/predict", json=ROW, headers=new).status_code == 200)
    assert stranger.post("/predict", json=ROW, headers=old).status_code == 401
    issuer.publish("rsa", "ec", "ed")
    eventually(lambda: stranger.post("/predict", json=ROW, headers=old).status_code == 200)
    assert guarded.process.poll() is None


def test_a_preflight_is_answered_without_a_credential(stranger: httpx.Client) -> None:
    """A preflight from the configured origin is answered, since a browser sends no credential with it."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-api-key"}
    answer = stranger.options("/predict", headers={"origin": SHOP} | asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SHOP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type,x-api-key"
    other = stranger.options("/predict", headers={"origin": "https://evil.example"} | asked)
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/predict"), ("POST", "/predict?x=1"), ("GET", "/health"), ("GET", "/docs")]
)
def test_every_answer_names_the_allowed_origin(stranger: httpx.Client, method: str, path: str) -> None:
    """Every answer, errors included, allows the configured origin alone, and never with credentials."""
    for key in (KEY, "wrong"):
        answer = stranger.request(method, path, json=ROW, headers={"origin": SHOP, "x-api-key": key})
        assert answer.headers["access-control-allow-origin"] == SHOP
        assert answer.headers["vary"] == "origin"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers
    other = stranger.request(method, path, json=ROW, headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["vary"] == "origin"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([b"x-api-key", b"authorization", b"origin"]),
    value=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(lambda tail: b"Bearer " + tail),
        st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(lambda parts: b"Bearer " + b".".join(parts)),
    ),
)
def test_no_header_makes_the_server_fail(guarded: Server, name: bytes, value: bytes) -> None:
    """Credentials of arbitrary bytes are refused as the client's error, never with a 5xx."""
    value = value.replace(b"\r", b"").replace(b"\n", b"")
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\n%b: %b\r\ncontent-length: 2\r\n\r\n{}"
            % (name, value)
        )
        answer = connection.makefile("rb").read()
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 401"}


def test_keys_are_rotated_under_requests(iris: Bundle, tmp_path: Path) -> None:
    """A rotation loses no request, a malformed file is logged by its line and changes nothing, and no key is logged."""
    keys, old, new = tmp_path / "keys.toml", new_key(), new_key()
    keys.write_text(f'shop = {{ sha256 = "{sha256(old)}" }}\n')
    statuses: list[int] = []
    done = threading.Event()
    with serving(str(iris.folder), "--api-keys", str(keys), folder=tmp_path) as running, client(running) as ask:

        def status(key: str) -> int:
            return ask.post("/predict", json=ROW, headers={"x-api-key": key}).status_code

        def load() -> None:
            while not done.is_set():
                statuses.append(status(old))

        sender = threading.Thread(target=load)
        sender.start()
        assert status(new) == 401
        keys.write_text(f'shop = {{ sha256 = ["{sha256(old)}", "{sha256(new)}"] }}\n')
        eventually(lambda: status(new) == 200)
        keys.write_text(f'# broken\nshop = {{ sha256 = "{new}" }}\n')
        n_before = len(statuses)
        eventually(lambda: len(statuses) > n_before + 20)
        said = running.logged_until("keys.toml, line 2")
        assert status(new) == 200
        done.set()
        sender.join()
        assert set(statuses) == {200}
        replacement = tmp_path / "next"
        replacement.write_text(f'shop = {{ sha256 = "{sha256(new)}" }}\n')
        replacement.rename(keys)
        eventually(lambda: status(old) == 401)
        assert status(new) == 200
        running.stop()
        assert running.process.stderr is not None
        said += running.process.stderr.read()
    assert "keys.toml, line 2: key 'shop'" in said
    logged = running.log.read_text() + said
    assert '"error":"the key is not known"' in logged
    assert old not in logged
    assert new not in logged
    assert sha256(new) not in logged


def test_a_server_without_access_settings_is_open(ask: httpx.Client) -> None:
    """Without access settings no key is needed and no answer has CORS headers."""
    for answer in (
        ask.post("/predict", json=ROW, headers={"origin": SHOP}),
        ask.get("/metrics", headers={"origin": SHOP}),
    ):
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_may_not_be_framed_and_send_no_referrer(ask: httpx.Client) -> None:
    """Every page forbids frames, referrers and guessed content types."""
    headers = ask.get("/docs").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert "camera=()" in headers["permissions-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_openapi_documents_configured_credentials(ask: httpx.Client, guarded: Server) -> None:
    """The OpenAPI document lists credentials and refusals exactly if access is configured."""
    opened = ask.get("/openapi.json").json()
    assert "securitySchemes" not in opened["components"]
    assert "/api/v1/model/reload" not in opened["paths"]
    with client(guarded) as asking:
        assert asking.get("/openapi.json").status_code == 401
        closed = asking.get("/openapi.json", headers={"x-api-key": KEY}).json()
    assert closed["components"]["securitySchemes"]["apiKey"] == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    assert closed["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path in ("/predict", "/v1/models/{model}:predict", "/v2/models/{model}/infer", "/invocations"):
        assert {"401", "429"} <= set(closed["paths"][path]["post"]["responses"])
        assert not {"401", "403", "429"} & set(opened["paths"][path]["post"]["responses"])
        assert closed["paths"][path]["post"]["security"] == [{"apiKey": []}, {"bearer": []}]
        assert "security" not in opened["paths"][path]["post"]
    assert "401" in closed["paths"]["/api/v1/model/info"]["get"]["responses"]
    assert "401" not in closed["paths"]["/health"]["get"]["responses"]
    assert {"401", "403", "409"} <= set(closed["paths"]["/v2/repository/models/{model}/load"]["post"]["responses"])


def test_documentation_can_be_switched_off_and_any_origin_allowed(iris: Bundle, tmp_path: Path) -> None:
    """Pages are 404 when they are off, and the origin ``*`` is sent as such, without credentials."""
    environ = {"ORRIS_DOCS": "off", "ORRIS_CORS_ORIGINS": "*"}
    with serving(str(iris.folder), folder=tmp_path, environ=environ) as running, client(running) as ask:
        for path in ("/docs", "/docs/assets/swagger-ui.css", "/openapi.json"):
            assert ask.get(path).status_code == 404
        assert ask.get("/", headers={"accept": "text/html"}).text == "OK"
        answer = ask.post("/predict", content=json.dumps(ROW), headers={"origin": "https://any.example"})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers


def test_a_missing_file_of_keys_stops_the_server(iris: Bundle, tmp_path: Path) -> None:
    """A missing file of keys stops the server instead of leaving it open."""
    with (
        pytest.raises(AssertionError, match=r"error: file of API keys \S+gone.toml: No such file"),
        serving(str(iris.folder), "--api-keys", str(tmp_path / "gone.toml"), folder=tmp_path),
    ):
        pass
