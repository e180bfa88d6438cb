"""Tests of the access rules that a server makes from its settings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import ForbiddenError, RateLimitError, SettingsError, UnauthorizedError
from orris.protocols import instances
from orris.protocols.status import headers_of, status_of
from orris.server.access import build_access, build_cors
from orris.server.assembly import PROTOCOLS
from orris.serving.access.gate import Access
from orris.serving.access.keys import digest_of, new_key
from orris.serving.pages.playground import Playground
from orris.serving.pages.probes import probes
from orris.serving.pages.record import PAGES
from orris.serving.routing import RouteTable
from orris.settings import read_settings
from orris.telemetry.metrics import Metrics

KEY, OPS, TOKEN = new_key(), new_key(), new_key()


def access(tmp_path: Path, **environ: str) -> Access:
    """Return the rules for these variables and a file of two keys."""
    keys = tmp_path / "keys.toml"
    hashes = [digest_of(key.encode()).hex() for key in (KEY, OPS)]
    keys.write_text(f'ci = {{ sha256 = "{hashes[0]}" }}\nops = {{ sha256 = "{hashes[1]}", admin = true }}\n')
    return rules_of({"ORRIS_API_KEYS_FILE": str(keys)} | environ)


def rules_of(environ: dict[str, str]) -> Access:
    """Return the rules for these variables, over the records of a server."""
    settings = read_settings(environ)
    vertex = instances.vertex(settings.predict_route, settings.health_route)
    table = RouteTable(*PROTOCOLS, probes(Metrics()), Playground().protocol, PAGES, vertex)
    return build_access(settings, table)


def test_nothing_is_guarded_until_it_is_configured() -> None:
    """Without access settings every route is open, except the administrator's, which are off."""
    rules = rules_of({})
    assert not rules.guards
    rules.admit_path("/api/v1/model/info", {})
    rules.admit_path("/metrics", {})
    with pytest.raises(ForbiddenError, match="ORRIS_ADMIN_TOKEN_SHA256"):
        rules.require_admin({b"x-api-key": b"anything"})


def test_an_admin_credential_opens_the_admin_routes(tmp_path: Path) -> None:
    """A key with ``admin = true`` or the token opens them, another key gets 403, and no credential 401."""
    rules = access(tmp_path, ORRIS_ADMIN_TOKEN_SHA256=digest_of(TOKEN.encode()).hex())
    rules.require_admin({b"x-api-key": OPS.encode()})
    rules.require_admin({b"authorization": b"Bearer " + TOKEN.encode()})
    with pytest.raises(ForbiddenError):
        rules.require_admin({b"x-api-key": KEY.encode()})
    with pytest.raises(UnauthorizedError):
        rules.require_admin({})


def test_an_admin_token_alone_leaves_predictions_open(tmp_path: Path) -> None:
    """An admin token alone guards only changes, and its file may be replaced while serving."""
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    rules = rules_of({"ORRIS_ADMIN_TOKEN_FILE": str(path)})
    assert not rules.guards
    rules.require_admin({b"x-api-key": TOKEN.encode()})
    path.write_text(KEY)
    rules._refresh(1e12)
    with pytest.raises(UnauthorizedError):
        rules.require_admin({b"x-api-key": TOKEN.encode()})
    rules.require_admin({b"x-api-key": KEY.encode()})


def test_the_limit_of_the_settings_counts_for_keys_without_their_own(tmp_path: Path) -> None:
    """The rate of the settings applies to each key without a rate of its own, in its own bucket."""
    rules = access(tmp_path, ORRIS_RATE_LIMIT="0.01", ORRIS_RATE_BURST="2")
    for _ in range(2):
        rules.admit({b"x-api-key": KEY.encode()})
    with pytest.raises(RateLimitError) as told:
        rules.admit({b"x-api-key": KEY.encode()})
    assert status_of(told.value) == 429
    assert headers_of(told.value) == ((b"retry-after", b"100"),)
    rules.admit({b"x-api-key": OPS.encode()})


@given(
    st.dictionaries(
        st.sampled_from([b"x-api-key", b"authorization"]),
        st.binary(max_size=80) | st.binary(max_size=80).map(b"Bearer ".__add__),
    )
)
def test_any_header_is_refused_with_401(headers: dict[bytes, bytes]) -> None:
    """Any header that is not a valid credential is refused with 401."""
    rules = rules_of({"ORRIS_ADMIN_TOKEN_SHA256": "a" * 64})
    with pytest.raises(UnauthorizedError) as told:
        rules.admit(headers)
    assert status_of(told.value) == 401
    assert headers_of(told.value)[0][0] == b"www-authenticate"


OPEN = ["/", "/health", "/ready", "/ping", "/api/v1/health", "/v2/health/live", "/v2/health/ready"]
OPEN += ["/v2/models/iris/ready", "/v2/models/iris/versions/1.0.0/ready", "/v2/models/nobody/ready"]
OPEN += ["/v1/models/iris", "/v1/models/iris/versions/1.0.0"]
OPEN += ["/metrics", "/docs", "/docs/start.js", "/docs/assets/swagger-ui.css", "/ui/page.css"]
GUARDED = ["/v2", "/v2/models/iris", "/v1/models", "/v1/models/iris:predict", "/v2/models/iris/infer"]
GUARDED += ["/api/v1/model/info", "/docs2", "/healthx", "/health/", "/v2/models/a/b/ready", "/v2/repository/index"]
GUARDED += ["/openapi.json", "/openapi.json2", "//health", "/health\n", "", "/invocations", "/ui/other.css"]


@pytest.mark.parametrize("path", OPEN)
def test_probes_and_pages_are_open(tmp_path: Path, path: str) -> None:
    """Probes and pages without data need no credential."""
    access(tmp_path).admit_path(path, {})


@pytest.mark.parametrize("path", GUARDED)
def test_all_else_is_guarded(tmp_path: Path, path: str) -> None:
    """A request of any other path needs a credential, and so does one of a path that resembles an open one."""
    with pytest.raises(UnauthorizedError):
        access(tmp_path).admit_path(path, {})


def test_the_openapi_document_can_be_opened(tmp_path: Path) -> None:
    """``ORRIS_OPENAPI_AUTH=false`` opens the document and nothing else."""
    rules = access(tmp_path, ORRIS_OPENAPI_AUTH="false")
    rules.admit_path("/openapi.json", {})
    with pytest.raises(UnauthorizedError):
        rules.admit_path("/api/v1/model/info", {})


def test_a_health_route_of_the_platform_is_open(tmp_path: Path) -> None:
    """A health route that the platform names is open, whatever its path is."""
    rules = access(tmp_path, ORRIS_HEALTH_ROUTE="/well")
    rules.admit_path("/well", {})
    with pytest.raises(UnauthorizedError):
        rules.admit_path("/unwell", {})


CONTRADICTIONS = [
    ({"ORRIS_ADMIN_TOKEN_SHA256": "abc"}, "64 hexadecimal digits"),
    ({"ORRIS_ADMIN_TOKEN_SHA256": "a" * 64, "ORRIS_ADMIN_TOKEN_FILE": "x"}, "give one of them"),
    ({"ORRIS_ADMIN_TOKEN_FILE": "/dev/null"}, "16 characters or more"),
    ({"ORRIS_RATE_LIMIT": "5"}, "--api-keys or --jwt-jwks"),
    ({"ORRIS_METRICS_AUTH": "true"}, "needs a credential to ask for"),
    ({"ORRIS_JWT_JWKS": "/nowhere/jwks.json"}, "/nowhere/jwks.json: No such file"),
    ({"ORRIS_API_KEYS_FILE": "/"}, "Is a directory"),
]


@pytest.mark.parametrize(("environ", "said"), CONTRADICTIONS, ids=[said for _, said in CONTRADICTIONS])
def test_settings_that_guard_nothing_stop_the_process(environ: dict[str, str], said: str) -> None:
    """Access settings that would guard nothing stop the process."""
    with pytest.raises(SettingsError, match=said):
        rules_of(environ)


@pytest.mark.parametrize(
    "origin",
    ["shop.example", "https://shop.example/", "https://Shop.example", "null", "https://*.example", "https://a b"],
)
def test_a_malformed_origin_is_refused(origin: str) -> None:
    """A malformed origin, which would match nothing or too much, is refused."""
    with pytest.raises(SettingsError, match="an origin is"):
        build_cors(read_settings({"ORRIS_CORS_ORIGINS": f"https://fine.example:8443, {origin}"}))


def test_the_jwt_library_is_imported_only_when_it_is_needed() -> None:
    """PyJWT, which comes with an extra, is imported only if tokens are configured."""
    code = "import sys, orris.server.assembly; sys.exit('jwt' in sys.modules or 'cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
