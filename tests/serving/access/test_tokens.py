"""Tokens and the keys that they are signed with, where a server would take too long to show it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orris.errors import SettingsError, UnauthorizedError
from orris.serving.access import tokens as module
from orris.serving.access.jwks import JwksFile, JwksUrl, read_jwks
from orris.serving.access.tokens import Tokens
from tests.serving.issuer import AUDIENCE, ISSUER, Issuer, issuing


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for the fetching thread."""
    give_up = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.01)


def verifier(jwks: JwksFile | JwksUrl, **given: str) -> Tokens:
    """Verifies the issuer's tokens."""
    algorithms = tuple(given.get("algorithms", "RS256,ES256,EdDSA").split(","))
    return Tokens(jwks, issuer=ISSUER, audiences=("other", AUDIENCE), algorithms=algorithms, leeway_seconds=5)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    """An issuer without a URL."""
    made = Issuer()
    made.publish("rsa", "ec")
    return made


@pytest.fixture
def from_file(issuer: Issuer, tmp_path: Path) -> Tokens:
    """A verifier whose keys come from a file."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(issuer.published))
    return verifier(JwksFile(path))


def reason(tokens: Tokens, token: bytes) -> str:
    """Why a token is refused, as the log has it."""
    with pytest.raises(UnauthorizedError) as told:
        tokens.find(token, 0.0)
    return told.value.reason


def test_a_token_names_its_caller(from_file: Tokens, issuer: Issuer) -> None:
    """By its subject; the second time it is known."""
    token = issuer.token("rsa", sub="shop").encode()
    caller = from_file.find(token, 0.0)
    assert caller.name == "token:shop"
    assert from_file.find(bytes(token), 0.0) is caller


def test_the_log_is_told_why(from_file: Tokens, issuer: Issuer) -> None:
    """In fixed words, without anything of the token."""
    now = int(time.time())
    assert reason(from_file, issuer.token(exp=now - 10).encode()) == "the token has expired"
    assert reason(from_file, issuer.token(nbf=now + 60).encode()) == "the token is not valid yet"
    assert reason(from_file, issuer.token(aud="x").encode()) == "the token is for another audience"
    assert reason(from_file, issuer.token(iss="x").encode()) == "the token is from another issuer"
    assert reason(from_file, issuer.token(exp=None).encode()) == "the token lacks a claim"
    assert reason(from_file, (issuer.token()[:-20] + "A" * 20).encode()) == "the token's signature is wrong"
    assert reason(from_file, b"a.b.c") == "the token is malformed"
    assert reason(from_file, b"a" * 20_000 + b".b.c") == "the token is too long"


def test_a_known_token_is_forgotten_when_it_expires(
    from_file: Tokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered is not believed longer than the token itself."""
    token = issuer.token(exp=int(time.time()) - 4).encode()  # within the leeway
    from_file.find(token, 0.0)
    monkeypatch.setattr(module, "time", lambda: time.time() + 2)
    monkeypatch.setattr(from_file, "_leeway", 0)
    assert reason(from_file, token) == "the token has expired"


def test_what_is_remembered_is_bounded(from_file: Tokens, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token that was used longest ago goes first."""
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    first, second, third = (issuer.token("ec", jti=str(i)).encode() for i in range(3))
    caller = from_file.find(first, 0.0)
    from_file.find(second, 0.0)
    from_file.find(first, 0.0)
    from_file.find(third, 0.0)
    assert from_file.find(first, 0.0) is caller
    assert len(from_file._known) == 2


@given(st.binary(max_size=120), st.binary(max_size=120), st.binary(max_size=120))
def test_any_bytes_are_refused(head: bytes, body: bytes, signature: bytes) -> None:
    """With the one error that is meant for it."""
    issuer = Issuer()
    issuer.publish("ed")
    jwks = _Fixed(read_jwks(json.dumps(issuer.published).encode(), "x"))
    assert reason(verifier(jwks), b".".join([head, body, signature]))  # type: ignore[arg-type]


class _Fixed:
    """Keys that do not change."""

    def __init__(self, keys: object) -> None:
        self.keys = keys

    def refresh(self, now: float) -> None:
        """Nothing to do."""

    def missed(self, now: float) -> None:
        """Nothing to do."""


@pytest.mark.parametrize("algorithms", ["HS256", "none", "RS256,HS512", ""])
def test_only_asymmetric_algorithms_can_be_allowed(issuer: Issuer, tmp_path: Path, algorithms: str) -> None:
    """A public key is no secret."""
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(issuer.published))
    with pytest.raises(SettingsError, match=r"only .*RS256.* are safe"):
        verifier(JwksFile(path), algorithms=algorithms)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}',
        b'{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}',
        b"\xff",
    ],
)
def test_a_jwks_without_a_usable_key_is_refused(content: bytes) -> None:
    """Symmetric keys and short ones are none."""
    with pytest.raises(SettingsError, match=r"^x: "):
        read_jwks(content, "x")


def test_a_key_of_the_set_verifies_only_what_it_is_for(issuer: Issuer) -> None:
    """Its own ``alg`` narrows it; a key for encryption verifies nothing."""
    entry = json.loads(issuer.public("rsa"))
    (key,) = read_jwks(json.dumps({"keys": [entry | {"alg": "RS512"}, entry | {"use": "enc"}]}).encode(), "x")
    assert key.algorithms == {"RS512"}


@pytest.mark.parametrize("url", ["http://issuer.example/jwks.json", "file:///etc/passwd", "ftp://localhost/x"])
def test_keys_are_not_fetched_over_an_open_line(url: str) -> None:
    """Who can change them on their way can sign any token."""
    with pytest.raises(SettingsError, match="only https"):
        JwksUrl(url, refresh_seconds=60)


def test_an_issuer_that_does_not_answer_stops_the_start() -> None:
    """A wrong URL is found out at once."""
    with issuing("ec") as issuer:
        issuer.status = 500
        with pytest.raises(SettingsError, match=r"127\.0\.0\.1.*500"):
            JwksUrl(issuer.url, refresh_seconds=60)


def test_unknown_keys_cause_no_more_than_one_fetch_in_a_while() -> None:
    """However many tokens name one."""
    with issuing("ec") as issuer:
        jwks = JwksUrl(issuer.url, refresh_seconds=3_600, unknown_key_seconds=600)
        tokens = verifier(jwks)
        stranger = Issuer()
        stranger.publish("ec9")
        token = stranger.token("ec9").encode()
        for _ in range(300):
            with pytest.raises(UnauthorizedError):
                tokens.find(token, time.monotonic())
        assert issuer.n_fetches == 1
        jwks._asked_at -= 600
        for _ in range(300):
            with pytest.raises(UnauthorizedError):
                tokens.find(token, time.monotonic())
        eventually(lambda: issuer.n_fetches == 2)
        _settle()
        assert issuer.n_fetches == 2


def test_an_issuer_that_fails_later_leaves_the_keys_that_were_fetched() -> None:
    """And what it says when it is back is taken."""
    with issuing("ec") as issuer:
        tokens = verifier(JwksUrl(issuer.url, refresh_seconds=0.05))
        issuer.status = 503
        old = issuer.token("ec").encode()
        tokens.find(old, time.monotonic())
        eventually(lambda: issuer.n_fetches > 3)
        assert tokens.find(old, time.monotonic()).name == "token:shop"
        issuer.publish("ec2")
        issuer.status = 200
        new = issuer.token("ec2").encode()

        def known() -> bool:
            try:
                return tokens.find(new, time.monotonic()).name == "token:shop"
            except UnauthorizedError:
                return False

        eventually(known)
        assert reason(tokens, old) == "the token's key is not known"


def _settle() -> None:
    """Give the fetching thread every opportunity to fetch once too often."""
    for _ in range(20):
        threading.Event().wait(0.005)
